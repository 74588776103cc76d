"""How fast a model answers on this machine: the roofline over memory bandwidth (decode) and arithmetic (prefill).

    decode tokens/s = 1 / (bytes touched per token / (efficiency x bandwidth) + t0)
    TTFT            = 2 x parameters x prompt tokens / (0.6 x FLOP/s)

Invariant: a faster machine never makes a prediction slower, and a fact that is not known never makes it faster.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.model import Device, Model, Precision
from selector.footprint import parameter_bounds, weight_bytes
from selector.hardware.values import Cpu, Hardware

# Share of the bandwidth that decoding reaches, measured: int8-compute kernels (accuracy_level 4), float kernels (0).
FAST_EFFICIENCY = 0.85
SLOW_EFFICIENCY = 0.45
PREFILL_EFFICIENCY = 0.6
TOKEN_OVERHEAD_S = 0.0003  # measured on a CPU: graph overhead per token
# Loading 317 MB took 0.8-1.0 s on two cores, nearly all of it packing weights (measured).
LOAD_BYTES_PER_S = 350e6
LOAD_FIXED_S = 0.3  # process, imports and tokenizer (measured 0.1-0.15 s)

# Within which factors of a prediction the truth mostly lies (judged, after whichllm's bands).
ROOFLINE_BAND = (0.35, 2.0)
SIBLINGS_BAND = (0.6, 1.6)
MEASURED_BAND = (0.85, 1.2)

# Without probes. Judged low: two cores of a shared server measured 22 GB/s and about 170 GFLOP/s each with AVX-512.
ASSUMED_BANDWIDTH_PER_CORE = 10e9
ASSUMED_BANDWIDTH_LIMIT = 30e9
ASSUMED_FLOPS_PER_CORE = 25e9
ASSUMED_AVX2_FLOPS_PER_CORE = 60e9
ASSUMED_AVX512_FLOPS_PER_CORE = 130e9
# Of a GPU nothing is known but that it is one; a card with memory of its own has at least this much.
ASSUMED_CARD = (150e9, 5e12)
ASSUMED_SHARED_GPU = (40e9, 1e12)


@dataclass(frozen=True, slots=True)
class Speed:
    """A prediction. ``source`` says what it rests on; ``band`` within which factors the truth is likely to lie."""

    tokens_per_second: float
    prompt_tokens_per_second: float
    load_s: float
    source: str
    band: tuple[float, float] = ROOFLINE_BAND

    def ttft_s(self, prompt_tokens: int) -> float:
        """Time to first token of a loaded model."""
        return prompt_tokens / self.prompt_tokens_per_second

    def answer_s(self, prompt_tokens: int, completion_tokens: int) -> float:
        """From request to last token of a loaded model."""
        return self.ttft_s(prompt_tokens) + completion_tokens / self.tokens_per_second


def predict_speed(model: Model, hardware: Hardware) -> Speed:
    """What ``model`` should do on ``hardware`` with every usable core to itself."""
    bandwidth, flops, source = machine_rates(hardware, model.device)
    weights = weight_bytes(model)
    decode_s = weights / (decode_efficiency(model) * bandwidth) + TOKEN_OVERHEAD_S
    parameters = max(1.0, parameter_bounds(model)[1])
    return Speed(
        tokens_per_second=1 / decode_s,
        prompt_tokens_per_second=PREFILL_EFFICIENCY * flops / (2 * parameters),
        load_s=LOAD_FIXED_S + weights / LOAD_BYTES_PER_S,
        source=f"predicted from {source}",
    )


def machine_rates(hardware: Hardware, device: Device) -> tuple[float, float, str]:
    """Bytes/s, FLOP/s and where they come from."""
    if device is not Device.CPU:
        has_own_memory = any(a.usable and a.memory_total_bytes for a in hardware.accelerators if a.device is device)
        bandwidth, flops = ASSUMED_CARD if has_own_memory else ASSUMED_SHARED_GPU
        return bandwidth, flops, f"assumed {bandwidth / 1e9:.0f} GB/s"
    probes = hardware.probes
    bandwidth = probes.bandwidth_bytes_per_s or assumed_bandwidth(hardware.cpu)
    flops = probes.flops or assumed_flops(hardware.cpu)
    is_probed = probes.bandwidth_bytes_per_s is not None
    return bandwidth, flops, f"{'probed' if is_probed else 'assumed'} {bandwidth / 1e9:.0f} GB/s"


def assumed_bandwidth(cpu: Cpu) -> float:
    """Bytes/s: one core cannot fill a memory channel, and three fill what the slowest machines have."""
    return min(cpu.usable_cores * ASSUMED_BANDWIDTH_PER_CORE, ASSUMED_BANDWIDTH_LIMIT)


def assumed_flops(cpu: Cpu) -> float:
    """FLOP/s of a float32 matrix product, by the widest vectors the CPU names."""
    flags = frozenset(cpu.flags)
    if "avx512f" in flags:
        return cpu.usable_cores * ASSUMED_AVX512_FLOPS_PER_CORE
    if flags & {"avx2", "asimd", "neon"}:
        return cpu.usable_cores * ASSUMED_AVX2_FLOPS_PER_CORE
    return cpu.usable_cores * ASSUMED_FLOPS_PER_CORE


def decode_efficiency(model: Model) -> float:
    """int4 without accuracy level 4, half floats on a CPU and unknown weights run through the slow kernels."""
    if model.device is not Device.CPU:
        return FAST_EFFICIENCY if model.precision is not Precision.UNKNOWN else SLOW_EFFICIENCY
    if model.precision is Precision.INT4:
        return FAST_EFFICIENCY if model.accuracy_level == 4 else SLOW_EFFICIENCY
    return FAST_EFFICIENCY if model.precision in (Precision.INT8, Precision.FP32) else SLOW_EFFICIENCY
