"""The layouts whose classes are in the annotations: the VOC devkit and `flat`."""

from __future__ import annotations

from records.layout_classes import is_images
from records.listing import Listing, Tree, stem_of
from records.matching import Matches
from records.types import Finding, Sample, Split
from records.voc_lists import read_split_lists


def is_voc(tree: Tree) -> bool:
    """Whether there is `JPEGImages`, here or one or two folders down, or `images` beside XML."""
    return bool(_list_devkits(tree))


def find_voc(tree: Tree) -> tuple[list[Sample], list[Finding]]:
    """`JPEGImages/*`, `Annotations/*.xml`, `ImageSets/Main/{train,val,test,trainval}.txt`.

    Lists of one class (`ImageSets/Main/<class>_train.txt`) are not read: the annotations say the
    same. Several years beside each other are all taken.
    """
    samples: list[Sample] = []
    findings: list[Finding] = []
    for devkit, pictures in _list_devkits(tree):
        more_samples, more_findings = _find_devkit(tree, devkit, pictures)
        samples += more_samples
        findings += [*tree.list(devkit).findings, *more_findings]
    return samples, findings


def is_flat(tree: Tree) -> bool:
    """Whether pictures and annotations lie side by side."""
    parts = tree.list()
    return bool(parts.pictures and parts.annotations)


def find_flat(tree: Tree) -> tuple[list[Sample], list[Finding]]:
    """`*.jpg` and `*.xml` side by side, as labelImg writes them."""
    parts = tree.list()
    return _find_unlabelled(tree, parts, parts.folder, {})


def _list_devkits(tree: Tree) -> list[tuple[str, str]]:
    """Folders of devkits, each with its folder of pictures."""
    root = tree.list()
    pictures = root.find_folder("jpegimages") or _find_plain_images(tree)
    if pictures:
        return [("", pictures)]
    outer = root.find_folder("vocdevkit")
    years = tree.list(outer).folders if outer else root.folders
    found = [(year, tree.list(year).find_folder("jpegimages")) for year in years]
    return [(year, pictures) for year, pictures in found if pictures]


def _find_plain_images(tree: Tree) -> str | None:
    root = tree.list()
    images = root.find_folder("images")
    if images and root.find_folder("annotations") and not is_images(tree):
        return images if tree.list(images).pictures else None
    return None


def _find_devkit(tree: Tree, devkit: str, pictures: str) -> tuple[list[Sample], list[Finding]]:
    listing = tree.list(pictures)
    names = {stem_of(picture) for picture in listing.pictures}
    split_of, findings = read_split_lists(tree, devkit, names)
    annotations = tree.list(devkit).find_folder("annotations")
    samples, more_findings = _find_unlabelled(tree, listing, annotations, split_of)
    return samples, findings + more_findings


def _find_unlabelled(
    tree: Tree, listing: Listing, annotations: str | None, split_of: dict[str, Split]
) -> tuple[list[Sample], list[Finding]]:
    matches = Matches(tree)
    matches.match(listing.pictures, annotations, labelled=False)
    samples = [
        Sample(
            source_id=picture,
            annotation=matches.get(picture),
            label=None,
            published_split=split_of.get(stem_of(picture)),
        )
        for picture in listing.pictures
        if picture not in matches.ambiguous
    ]
    return samples, [*listing.findings, *matches.findings]
