"""The demo experiment with little to do."""

from typing import Any

TINY: dict[str, Any] = {
    "title": "tiny",
    "seed": 7,
    "dataset": {"kind": "heads", "size": 32, "finetune": 4, "test": 3, "real": 3},
    "degradations": {"noise": {"preset": "raw_x2_severe"}},
    "pseudo_targets": {"respacing": "10", "start_t": 300, "stop_t": 100, "factor": 4},
    "metrics": ["psnr", "ssim", "lpips_seeded", "fid_seeded", "musiq"],
    "methods": ["lq", "pretrained", "pseudo_target", "adapted"],
    "compare": {},
    "cleaning": None,
    "authenticity": None,
}


def tiny_of(demo: dict[str, Any]) -> dict[str, Any]:
    """The demo experiment with little to do."""
    return demo | TINY | {"finetune": demo["finetune"] | {"iterations": 3, "batch": 4, "micro_batch": 2}}
