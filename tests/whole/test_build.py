from pathlib import Path

from tlc_edge.runtime import Bundle, Classifier


def test_a_build_makes_a_bundle_that_predicts(built_bundle: Path, photos: Path) -> None:
    bundle = Bundle.open(built_bundle)
    assert bundle.manifest.labels == ("0", "1", "2", "3")
    with Classifier.open(bundle) as classifier:
        right = sum(classifier.predict(photos / d / "0.png").label == d for d in "0123")
    assert right >= 3
