"""The noise schedule of guided-diffusion: tables in float64, rounded to float32 where they meet an image.

`t` is a step of the original chain (0 … 999), `i` an index into the kept steps; a-bar is `alphas_cumprod`.
Source: Ho et al. 2020 (DDPM), Nichol & Dhariwal 2021 (learned variance, respacing).
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """betas [n] float64 of the kept steps, and for each the step of the original chain that it stands for.

    `i` is an int for the whole batch or an int64 tensor [N] with one index per image. Images are [N, C, H, W] float32;
    x_0 in [-1, 1]. Tables are on the CPU; a tensor `i` takes from a copy on the images' device, made once. Neither an
    int nor a tensor on the images' device costs a GPU a synchronisation.
    """

    betas: Tensor
    timestep_map: Tensor
    _copies: dict[tuple[str, torch.device, torch.dtype], Tensor] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def linear(cls, steps: int = 1000) -> "Schedule":
        """Betas linear from 1e-4 to 2e-2 (for 1000 steps; scaled by 1000 / steps otherwise)."""
        scale = 1000 / steps
        betas = torch.linspace(scale * 1e-4, scale * 2e-2, steps, dtype=torch.float64)
        return cls(betas, torch.arange(steps))

    def respace(self, spec: str) -> "Schedule":
        """The shorter chain over the steps that `spec` keeps (see `kept_steps`), with the same a-bar at these."""
        kept = torch.tensor(kept_steps(len(self), spec))
        alphas_cumprod = self.alphas_cumprod[kept]
        return Schedule(1 - alphas_cumprod / shifted(alphas_cumprod), self.timestep_map[kept])

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        return torch.cumprod(1 - self.betas, dim=0)

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        return shifted(self.alphas_cumprod)

    @cached_property
    def posterior_variance(self) -> Tensor:
        """beta-tilde, the variance of q(x_{i-1} | x_i, x_0); 0 at i = 0."""
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        """log beta-tilde, whose -inf at i = 0 is replaced by the value at i = 1."""
        return torch.log(torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]))

    @cached_property
    def posterior_mean_coef1(self) -> Tensor:
        return self.betas * self.alphas_cumprod_prev.sqrt() / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coef2(self) -> Tensor:
        return (1 - self.alphas_cumprod_prev) * (1 - self.betas).sqrt() / (1 - self.alphas_cumprod)

    @cached_property
    def sqrt_alphas_cumprod(self) -> Tensor:
        return self.alphas_cumprod.sqrt()

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> Tensor:
        return (1 - self.alphas_cumprod).sqrt()

    @cached_property
    def sqrt_recip_alphas_cumprod(self) -> Tensor:
        return (1 / self.alphas_cumprod).sqrt()

    @cached_property
    def sqrt_recipm1_alphas_cumprod(self) -> Tensor:
        return (1 / self.alphas_cumprod - 1).sqrt()

    @cached_property
    def log_betas(self) -> Tensor:
        return self.betas.log()

    def t(self, i: int | Tensor, x: Tensor) -> Tensor:
        """What the network is told: the original step of index i, [N] int64 on x's device."""
        if isinstance(i, int):
            return torch.full((len(x),), int(entry(self.timestep_map, i)), device=x.device)
        return self._copy("timestep_map", x.device, torch.int64)[i.to(x.device)]

    def factor(self, table: str, i: int | Tensor, x: Tensor) -> float | Tensor:
        """A table's entry at i as a factor of x: in float64 for an int, [N, 1, …] like x for indices of each image.

        Raises IndexError for an int outside 0 … n - 1.
        """
        if isinstance(i, int):
            return float(entry(getattr(self, table), i))
        return self._copy(table, x.device, x.dtype)[i.to(x.device)].reshape(-1, *[1] * (x.ndim - 1))

    def _copy(self, table: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        key = table, device, dtype
        if key not in self._copies:
            self._copies[key] = getattr(self, table).to(dtype).to(device)
        return self._copies[key]

    def q_sample(self, x_0: Tensor, i: int | Tensor, noise: Tensor) -> Tensor:
        """A draw of q(x_i | x_0) = N(√a-bar x_0, (1 - a-bar) I)."""
        signal = self.factor("sqrt_alphas_cumprod", i, x_0)
        spread = self.factor("sqrt_one_minus_alphas_cumprod", i, x_0)
        return signal * x_0 + spread * noise

    def predict_x0(self, x_t: Tensor, i: int | Tensor, eps: Tensor) -> Tensor:
        """x_0 that makes x_t with the noise eps; not clipped."""
        scale = self.factor("sqrt_recip_alphas_cumprod", i, x_t)
        spread = self.factor("sqrt_recipm1_alphas_cumprod", i, x_t)
        return scale * x_t - spread * eps

    def predict_eps(self, x_t: Tensor, i: int | Tensor, x_0: Tensor) -> Tensor:
        """Noise that makes x_t from x_0; the inverse of `predict_x0`."""
        scale = self.factor("sqrt_recip_alphas_cumprod", i, x_t)
        spread = self.factor("sqrt_recipm1_alphas_cumprod", i, x_t)
        return (scale * x_t - x_0) / spread

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, i: int | Tensor) -> Tensor:
        """Mean of q(x_{i-1} | x_i, x_0)."""
        coef1, coef2 = self.factor("posterior_mean_coef1", i, x_t), self.factor("posterior_mean_coef2", i, x_t)
        return coef1 * x_0 + coef2 * x_t

    def log_variance(self, v: Tensor, i: int | Tensor) -> Tensor:
        """Learned range: log sigma² between log beta-tilde (v = -1) and log beta (v = 1); v is not clamped."""
        low, high = self.factor("posterior_log_variance_clipped", i, v), self.factor("log_betas", i, v)
        w = (v + 1) / 2
        return w * high + (1 - w) * low


def kept_steps(steps: int, spec: str) -> list[int]:
    """Indices of a chain of `steps` that a respacing keeps, rising.

    spec: "250" spreads 250 from the first to the last; "a,b" does so in equal parts of the chain, a in the first;
    "ddim250" takes every 4th of 1000 from 0. Raises ValueError for anything else or more than there are.
    """
    counts = spec.removeprefix("ddim").split(",")
    if not all(count.isdecimal() and int(count) > 0 for count in counts) or (spec.startswith("ddim") and counts[1:]):
        raise ValueError(f"respacing {spec!r}: expected a count ('250'), counts per part ('10,20') or 'ddim250'")
    if spec.startswith("ddim"):
        return _every_nth(steps, int(counts[0]))
    size, extra = divmod(steps, len(counts))
    kept: list[int] = []
    start = 0
    for part, count in enumerate(counts):
        length = size + (part < extra)
        if int(count) > length:
            raise ValueError(f"respacing {spec!r}: cannot keep {count} of the {length} steps in part {part + 1}")
        kept += [start + offset for offset in _spread(length, int(count))]
        start += length
    return kept


def _every_nth(steps: int, count: int) -> list[int]:
    for stride in range(1, steps + 1):
        if len(range(0, steps, stride)) == count:
            return list(range(0, steps, stride))
    raise ValueError(f"respacing 'ddim{count}': no whole stride takes {count} of {steps} steps; use '{count}'")


def _spread(length: int, count: int) -> list[int]:
    """`count` positions from 0 to length - 1; the stride is summed in float and rounded half to even, as published."""
    stride = (length - 1) / (count - 1) if count > 1 else 1.0
    positions, position = [], 0.0
    for _ in range(count):
        positions.append(round(position))
        position += stride
    return positions


def shifted(alphas_cumprod: Tensor) -> Tensor:
    """a-bar of the step before each, 1 before the first."""
    return torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])


def entry(table: Tensor, i: int) -> Tensor:
    """Entry i of a table, []. Raises IndexError outside 0 … n - 1."""
    if not 0 <= i < len(table):
        raise IndexError(f"step index {i} is outside this schedule's 0 … {len(table) - 1}")
    return table[i]
