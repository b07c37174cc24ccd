"""run.json: what a report is of, for the pages and tables that come after it."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.basics import BadInput, Strict
from tasks.report.content import Method
from tasks.report.inputs import ReportInputs


class About(Strict):
    """The file run.json beside a report.

    metrics: labels by name; places: of the inputs, below the experiment's folder (`ReportInputs.named`).
    """

    title: str
    settings: dict[str, Any]
    degradations: tuple[str, ...]
    methods: tuple[Method, ...]
    metrics: dict[str, str]
    places: dict[str, str]
    environment: dict[str, str]

    @classmethod
    def read(cls, report: Path) -> "About":
        """Of the report in this folder. Raises BadInput where there is none that this version can read."""
        path = report / "run.json"
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{report} holds no report ({error}). Run its experiment first.") from error
        except ValidationError as error:
            raise BadInput(
                f"{path} is damaged or of another version of bfr ({error.errors()[0]['msg']}).\n"
                "Run its experiment again."
            ) from error

    @property
    def inputs(self) -> ReportInputs[str]:
        """The places of the inputs."""
        return ReportInputs.of(self.places)

    @property
    def labels(self) -> dict[str, str]:
        """Names of the rows in the tables, by their keys."""
        return {method.name: method.label for method in self.methods}
