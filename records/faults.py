"""Every kind of fault a data set can have: its code, whether the picture is lost, what to do.

One row a kind. A new kind of finding is a new row here and the check that finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from records.types import Finding


def order_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each finding once, ordered by path, code and reason."""
    return tuple(sorted(set(findings), key=lambda item: (item.path, item.code, item.reason)))


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        code: Short name in snake_case; what `audit.json` counts by.
        is_error: Whether a picture with it is set aside.
        remedy: What to do about it.
    """

    code: str
    is_error: bool
    remedy: str

    def found(self, path: str, reason: str, *, other: str = "") -> Finding:
        """Makes the finding that `path` (below the data folder) has this fault."""
        return Finding(self.code, path, reason, self.remedy, self.is_error, other)


# What lies in the folder.
BAD_NAME = Fault(
    "bad_name", True, "Rename it: valid UTF-8 without line breaks or other control characters."
)
BAD_LINK = Fault("bad_link", True, "Put a copy of what it points to in its place.")
NO_FILE = Fault("no_file", True, "Put a file in its place, or take it out of the folder.")
NESTED_PICTURES = Fault(
    "nested_pictures", True, "Move the pictures one level up, into the folder of their class."
)
EMPTY_CLASS = Fault("empty_class", False, "Add pictures, or delete the folder.")
UNLABELLED_PICTURE = Fault(
    "unlabelled_picture",
    True,
    "Add its annotation (one without objects when nothing was found), or move the picture into the "
    "folder of its class.",
)
ORPHAN_ANNOTATION = Fault("orphan_annotation", False, "Add the picture, or delete the annotation.")
DUPLICATE_NAME = Fault(
    "duplicate_name",
    False,
    "Rename the pictures, or put their class folder's name into <folder> of the annotation.",
)
NAME_WITHOUT_LABEL = Fault(
    "duplicate_name",
    True,
    "Rename the pictures so that each has an annotation of its own name.",
)
SAME_NAME = Fault(
    "duplicate_name",
    False,
    "Rename one of them: nothing is mixed up here, but whatever puts all pictures into one folder "
    "would lose one.",
)
NO_ANNOTATION = Fault(
    "no_annotation", False, "Add the annotation; without it the picture counts as having no boxes."
)
CLASS_TOO_SMALL = Fault(
    "class_too_small", False, "Add pictures, or remove the class: no result on so few says much."
)
UNUSED_FOLDER = Fault(
    "unused_folder",
    False,
    "Move its pictures where the layout has them, rename the folder, or take it out of the data.",
)
LISTED_MISSING = Fault(
    "listed_missing", False, "Add the picture, or take its line out of the list."
)
LISTED_TWICE = Fault("listed_twice", False, "Take the picture out of all lists but one.")

NO_PUBLISHED_SPLIT = Fault(
    "no_published_split", True, "Put it into the folder or the list of a split."
)
PUBLISHED_SPLIT_UNUSED = Fault(
    "published_split_unused",
    False,
    "Give the data set a train and a test folder, or lists, to have them kept.",
)

# What a picture's file holds.
EMPTY_FILE = Fault("empty_file", True, "Copy the picture again from where it came from.")
UNREADABLE_PICTURE = Fault(
    "unreadable_picture", True, "Copy the picture again from where it came from."
)
UNSUPPORTED_PICTURE = Fault("unsupported_picture", True, "Save it as 8 or 16 bit PNG, grey or RGB.")
TOO_LARGE_PICTURE = Fault("too_large_picture", True, "Crop it or scale it down.")
CMYK_PICTURE = Fault(
    "cmyk_picture",
    False,
    "Save it as RGB: its inks were turned into colours without a profile, and a served model that "
    "is sent the file itself does not decode it.",
)
TURNED_PICTURE = Fault(
    "turned_picture",
    False,
    "Save it upright, without an orientation tag: a served model that is sent the file itself "
    "sees it lying.",
)
WRONG_EXTENSION = Fault("wrong_extension", False, "Rename the file after what it holds.")
EXACT_DUPLICATE = Fault("exact_duplicate", False, "Delete one of the two.")
CONTRADICTING_DUPLICATE = Fault(
    "exact_duplicate", True, "Decide which class is right and delete the other copies."
)
NEAR_DUPLICATE = Fault(
    "near_duplicate", False, "None is needed: they stay on one side of every split."
)
NEAR_DUPLICATE_OF_OTHER_CLASS = Fault(
    "near_duplicate_of_other_class",
    False,
    "Decide which class is right: both are used as they are, on one side of every split.",
)
NEAR_DUPLICATE_ACROSS_SPLITS = Fault(
    "near_duplicate_across_splits",
    False,
    "None is needed: it is left out, so that nothing is tested on that was trained on. Publish "
    "splits without copies of each other.",
)
GROUP_ACROSS_SPLITS = Fault(
    "group_across_splits",
    False,
    "None is needed: it is left out. Publish splits that do not part what --group_regex groups.",
)

# What an annotation says.
BROKEN_ANNOTATION = Fault(
    "broken_annotation", True, "Mend the XML or draw the boxes again; VOC is what labelImg writes."
)
UNSAFE_ANNOTATION = Fault(
    "unsafe_annotation",
    True,
    "Take the DOCTYPE out of the XML, and find out who put it there: no annotation tool writes "
    "one.",
)
SIZE_MISMATCH = Fault(
    "size_mismatch", False, "See that the boxes fit the picture, then correct <size>."
)
TURNED_BOXES = Fault(
    "turned_boxes",
    False,
    "Look at the picture with its boxes; where they miss, save it upright and draw them again.",
)
BOX_OUTSIDE = Fault(
    "box_outside", True, "Correct the box, or see whether the picture was scaled after annotating."
)
BOX_CLIPPED = Fault("box_clipped", False, "None is needed; the box was cut at the picture's edge.")
EMPTY_BOX = Fault("empty_box", True, "Correct the box or delete the object.")
UNKNOWN_CLASS = Fault(
    "unknown_class", True, "Correct the object's <name>, or add a folder of that class."
)
OBJECT_OF_OTHER_CLASS = Fault(
    "object_of_other_class", False, "None is needed if the picture shows both; its folder decides."
)

SET_ASIDE_CODES = frozenset(
    fault.code for fault in (EXACT_DUPLICATE, NEAR_DUPLICATE_ACROSS_SPLITS, GROUP_ACROSS_SPLITS)
)
"""Warnings whose picture is left out all the same: it adds nothing, or a leak."""


def sets_aside(finding: Finding) -> bool:
    """Whether the picture is not used."""
    return finding.is_error or finding.code in SET_ASIDE_CODES
