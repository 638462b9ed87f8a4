"""Write a file whole or not at all, and say in words when a disk is full.

with whole(path) as part: torch.save(state, part)     # `path` changes only when the block ends well
write(path, text)                                     # the same for a text or bytes at hand
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

# no room left, a user's quota used up, a file beyond the limit of its file system
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".part"  # the ending of an unfinished file; its name begins with a dot


class DiskFull(OSError):
    """There is no room for a file; the text names the folder and the cure."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk (or a quota) is full."""
    return isinstance(error, OSError) and error.errno in FULL


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; at the end it takes the name `path`, in one step.

    A reader never sees half of a file, and after a crash or an error the old one is still there.
    Folders are made. A link stays one: what it leads to is written. Raises `DiskFull` where there
    is no room, OSError where `path` is a folder or a device.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a name of its own, so that two writers at once do not take each other's part
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the umask
        try:
            yield part
            _settle(part, path)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if is_full(error) and not isinstance(error, DiskFull):
            raise DiskFull(
                error.errno,
                f"the disk of {path.parent} is full: {path.name} was not written, and what stood"
                " there before is unchanged. Free some space and run it again",
            ) from error
        raise


def _settle(part: Path, path: Path) -> None:
    """Bring the bytes to the disk (the name must not outlive a crash that loses them)."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if path.exists():
        part.chmod(path.stat().st_mode & 0o777)


def write(path: Path, data: str | bytes) -> None:
    """Write a text (UTF-8, newlines as given) or bytes, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
