from __future__ import annotations

import pytest

from tlc_edge.compiler.steps import Steps, no_progress
from tlc_edge.runtime.errors import BuildError, DataError


def test_each_step_is_told_and_timed() -> None:
    seen: list[tuple[str, int, int]] = []
    step = Steps(lambda *told: seen.append(told))
    with step("load data"):
        pass
    with step("featurize") as report:
        report(1, 2)
        report(2, 2)
    assert seen == [("load data", 0, 0), ("featurize", 0, 0), ("featurize", 1, 2), ("featurize", 2, 2)]
    assert list(step.seconds) == ["load data", "featurize"]
    assert all(seconds >= 0 for seconds in step.seconds.values())


def failing(error: BaseException) -> Steps:
    step = Steps(no_progress)
    with step("load data"), step("shave"):
        pass
    with step("lower"):
        raise error


class TestFailure:
    def test_one_of_ours_keeps_its_kind_and_gets_a_note(self) -> None:
        with pytest.raises(DataError) as told:
            failing(DataError("no images"))
        assert str(told.value) == "no images"
        assert told.value.__notes__ == ["in step 'lower', after shave, load data"]

    def test_in_the_first_step(self) -> None:
        step = Steps(no_progress)
        with pytest.raises(DataError) as told, step("load data"):
            raise DataError("no images")
        assert told.value.__notes__ == ["in step 'load data'"]

    def test_one_of_a_library_becomes_a_sentence_with_the_cause_kept(self) -> None:
        cause = RuntimeError("op REVERSE is not supported\n  at 0x7f\n  at 0x80")
        with pytest.raises(BuildError) as told:
            failing(cause)
        assert str(told.value) == (
            "RuntimeError: op REVERSE is not supported; this is a defect of tlc or of a library: please report it"
        )
        assert told.value.__cause__ is cause
        assert told.value.__notes__ == ["in step 'lower', after shave, load data"]

    def test_one_without_words(self) -> None:
        with pytest.raises(BuildError, match="AssertionError: ; this is a defect"):
            failing(AssertionError())

    def test_no_memory(self) -> None:
        with pytest.raises(BuildError, match=r"out of memory in step 'lower', after shave, load data; use fewer"):
            failing(MemoryError())

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_a_stop_is_not_an_error(self, stop: type[BaseException]) -> None:
        with pytest.raises(stop):
            failing(stop())

    def test_a_step_that_failed_did_not_run(self) -> None:
        step = Steps(no_progress)
        with pytest.raises(DataError), step("load data"):
            raise DataError("no images")
        assert step.seconds == {}
