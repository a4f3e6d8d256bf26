"""Teach a bundle a class from a few images, ask it about them, and take it back. Needs the base install only."""

import sys

from tlc_edge.runtime import Classifier

bundle, label, *images = sys.argv[1:]

with Classifier.open(bundle) as classifier:
    for warning in classifier.enroll(label, images).warnings:
        print(warning.image, warning.text)
    for image, answer in zip(images, classifier.predict_many(images), strict=True):
        print(f"{image}: {'unknown' if answer.unknown else answer.label} {answer.score:.2f}, from the {answer.source}")
    change = classifier.undo()
    print(f"taken back: {change.removed} examples of {change.label}")
