"""What the trainings of SAEs for the language model and for the small models share."""
