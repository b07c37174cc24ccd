"""Train a network from scratch: an entry of the section `models` of params.yaml."""

from prefect import flow
from prefect.logging import get_run_logger

from flows.models import train_model
from tasks import nodes


@flow(name="train", flow_run_name="{name}", log_prints=True)
def train(name: str) -> None:
    """data/weights/<name>.safetensors, its card (.json) and its losses (.losses.csv). A killed run goes on."""
    get_run_logger().info("Trained %s", train_model(name, nodes.run))
