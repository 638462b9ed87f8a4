"""What learners are given in the later sections of Part 3.1."""
