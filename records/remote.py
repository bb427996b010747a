"""Files and folders at URLs, looked at by the file systems of TensorFlow.

TensorFlow is loaded when one is first looked at, and by nothing else here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import importlib.util
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from records.errors import InputError
from records.quiet import load_tensorflow

_MARKS_FOLDERS = frozenset({"gs"})
"""Schemes whose listings end the names of folders with a slash; others are asked about each."""
_ASKED_AT_ONCE = 16  # Questions wait for the network, not for this machine.
_NUMBERS = {
    "NotFoundError": errno.ENOENT,
    "PermissionDeniedError": errno.EACCES,
    "UnauthenticatedError": errno.EACCES,
}
"""What the operating system calls errors of TensorFlow; all others are faults of reading."""
_one_load = threading.Lock()


class Status(NamedTuple):
    """What is at a URL, by the names of `os.stat_result`."""

    st_mode: int
    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in a folder at a URL, by the methods of `os.DirEntry`."""

    name: str
    is_folder: bool

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.is_folder

    def is_file(self) -> bool:
        """Whether it is a file."""
        return not self.is_folder

    def is_symlink(self) -> bool:
        """False: there are no links to be seen."""
        return False


@dataclass(frozen=True, order=True, slots=True)
class Url:
    """A file or folder that `tf.io.gfile` opens, by the methods of `pathlib.Path`.

    Its names are taken as they are, without escapes. Every method that looks at it raises `OSError`
    when it cannot be looked at, and `InputError` when TensorFlow knows no such file system here.

    Attributes:
        text: `scheme://` and what follows, without a slash at the end.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}") if name else self

    def __rtruediv__(self, folder: Path) -> Self:
        """As with an absolute path, it does not matter what stands before it."""
        return self

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.text.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The extension of the name, with its dot; empty when there is none."""
        return Path(self.name).suffix

    def as_posix(self) -> str:
        """The text."""
        return self.text

    def absolute(self) -> Self:
        """Itself: it means the same everywhere."""
        return self

    def resolve(self) -> Self:
        """Itself: there are no links to be seen."""
        return self

    def is_symlink(self) -> bool:
        """False: there are no links to be seen."""
        return False

    def stat(self) -> Status:
        """What is there.

        Raises:
            FileNotFoundError: Nothing.
        """
        with _asking(self) as gfile:
            found = gfile.stat(self.text)
        kind = stat.S_IFDIR if found.is_directory else stat.S_IFREG
        return Status(kind, found.length, found.mtime_nsec)

    def exists(self) -> bool:
        """Whether anything is there."""
        return self._is(lambda _: True)

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self._is(stat.S_ISDIR)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._is(stat.S_ISREG)

    def read(self, most: int) -> bytes:
        """The first bytes of the file.

        Args:
            most: How many at most.
        """
        size = self.stat().st_size  # Room for what is asked for is made before it is read.
        with _asking(self) as gfile, gfile.GFile(self.text, "rb") as file:
            return bytes(file.read(min(size, most)))

    def scan(self) -> list[Entry]:
        """What lies in the folder, in any order; what is called as if it lay elsewhere is not."""
        with _asking(self) as gfile:
            listed = gfile.listdir(self.text)
            found = {name.removesuffix("/"): name.endswith("/") for name in listed}
            names = list(filter(_is_name, found))
            if self.scheme not in _MARKS_FOLDERS:
                urls = [(self / name).text for name in names]
                found = dict(zip(names, _map(gfile.isdir, urls), strict=True))
        return [Entry(name, found[name]) for name in names]

    def match(self) -> list[Url]:
        """The files that it means as a glob; `*` stands for no slash, nor for a hidden name's dot.

        Raises:
            InputError: It has `**`, which TensorFlow does not know.
        """
        if "**" in self.text:
            raise InputError(
                f"{self} has **, which a glob of a URL does not know.",
                "Give the folder alone, for all pictures below it, or one * for each level.",
            )
        with _asking(self) as gfile:
            found = [text for text in gfile.glob(self.text) if _is_shown(text, self.text)]
            are_folders = _map(gfile.isdir, found)
        return [Url(text) for text, is_folder in zip(found, are_folders, strict=True)
                if not is_folder]  # fmt: skip

    def _is(self, fits: Callable[[int], bool]) -> bool:
        try:
            return fits(self.stat().st_mode)
        except FileNotFoundError:
            return False


def _map(ask: Callable[[str], bool], urls: list[str]) -> list[bool]:
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="asking") as threads:
        return list(threads.map(ask, urls))


def _is_name(name: str) -> bool:
    """Whether it names something in the folder it was listed in: a store may hold any key."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\0"}


def _is_shown(text: str, pattern: str) -> bool:
    parts = zip(text.split("/"), pattern.split("/"), strict=False)
    return not any(name.startswith(".") and not asked.startswith(".") for name, asked in parts)


@contextlib.contextmanager
def _asking(url: Url) -> Iterator[Any]:
    """Yields `tf.io.gfile`; what it raises becomes an `OSError` about `url`."""
    tf = _load(url.scheme)
    try:
        yield tf.io.gfile
    except tf.errors.OpError as error:
        number = _NUMBERS.get(type(error).__name__, errno.EIO)
        text = " ".join(str(error.message).split())
        reason = text if number == errno.EIO and text else os.strerror(number)
        raise OSError(number, reason, url.text) from error
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "a name in it is no valid UTF-8", url.text) from error


@functools.cache
def _load(scheme: str) -> Any:
    with _one_load:  # It turns the process's stderr aside for a while.
        if "tensorflow" not in sys.modules:
            load_tensorflow()
        import tensorflow as tf

    schemes = tf.io.gfile.get_registered_schemes
    if scheme not in schemes() and importlib.util.find_spec("tensorflow_io"):
        importlib.import_module("tensorflow_io")  # Its file systems are known once it is imported.
    if scheme not in schemes():
        known = ", ".join(f"{name}://" for name in sorted(filter(None, schemes())))
        raise InputError(
            f"TensorFlow knows no file system for {scheme}:// here. It knows: {known}.",
            "Mount it and give the folder, copy the pictures, or install the plugin that brings "
            "it (tensorflow-io has s3:// and hdfs://) on every machine that reads pictures.",
        )
    return tf
