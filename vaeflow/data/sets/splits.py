"""Cut a data set into the splits of a run."""

from __future__ import annotations

from dataclasses import dataclass

from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets.lazy import part_of
from vaeflow.errors import DataError


@dataclass(frozen=True)
class Cut:
    """The examples that a run uses.

    Attributes:
        validation: number of training examples, from the end, that are held out.
        train_examples: number of training examples, from the start, that are used; None uses all.
        test_examples: number of test examples, from the start, that are used; None uses all.
    """

    validation: int = 0
    train_examples: int | None = None
    test_examples: int | None = None

    def of(self, dataset: Dataset) -> Dataset:
        """Return the data set with these examples; the arrays are views, nothing is copied.

        Raises:
            DataError: if it has fewer examples, or already has a validation split although `validation` is set, or if
                examples of the splits differ in shape.
        """
        train, validation = self._held_out(dataset)
        test = dataset.test
        if test is None and self.test_examples is not None:
            raise DataError(f"{dataset.name}: test_examples={self.test_examples}, but there is no test split")
        found = Dataset(
            dataset.name,
            _first(train, self.train_examples, f"{dataset.name}: train_examples"),
            validation,
            None if test is None else _first(test, self.test_examples, f"{dataset.name}: test_examples"),
            dataset.source,
        )
        _check_shapes(found)
        return found

    def _held_out(self, dataset: Dataset) -> tuple[Split, Split | None]:
        if not self.validation:
            return dataset.train, dataset.validation
        if dataset.validation is not None:
            raise DataError(
                f"{dataset.name}: validation={self.validation}, but the data already have a validation split; "
                "set the option to 0, or remove the arrays"
            )
        rest = len(dataset.train) - self.validation
        if rest < 1:
            raise DataError(
                f"{dataset.name}: validation={self.validation} leaves none of {len(dataset.train)} training examples"
            )
        return _rows(dataset.train, 0, rest), _rows(dataset.train, rest, len(dataset.train))


def _first(split: Split, count: int | None, option: str) -> Split:
    if count is None:
        return split
    if not 1 <= count <= len(split):
        raise DataError(f"{option}={count}; allowed are 1 to {len(split)}")
    return _rows(split, 0, count)


def _rows(split: Split, start: int, end: int) -> Split:
    return Split(part_of(split.x, start, end - start), None if split.y is None else split.y[start:end])


def _check_shapes(dataset: Dataset) -> None:
    train = dataset.train.x
    for name, split in dataset.splits().items():
        if split.x.shape[1:] != train.shape[1:] or split.x.dtype != train.dtype:
            raise DataError(
                f"{dataset.name}: an example of {name} is {split.x.dtype} {split.x.shape[1:]}, "
                f"one of train is {train.dtype} {train.shape[1:]}; they must agree"
            )
