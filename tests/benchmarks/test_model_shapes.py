"""The shapes that the benchmarks write models in, beside what the hub shows of the published ones."""

import pytest

from benchmarks.models.shapes import SHAPES
from benchmarks.models.tensors import matrices, vectors

# Parameters of the published weights, and the size of the file that they are as Q4_K_M, in GB.
PUBLISHED = {
    "smollm2-135m": (134_515_008, 0.105),
    "smollm2-360m": (361_821_120, 0.271),
    "smollm2-1.7b": (1_711_376_384, 1.06),
    "lfm2-350m": (354_483_968, 0.229),
    "lfm2-700m": (742_489_344, 0.469),
    "lfm2-1.2b": (1_170_340_608, 0.731),
    "qwen3-0.6b": (596_049_920, 0.397),
    "qwen3-1.7b": (1_720_574_976, 1.11),
    "qwen3-4b": (4_022_468_096, 2.50),
    "gemma-3-1b": (999_885_952, 0.806),
    "gemma-3-4b": (3_880_263_168, 2.49),
    "llama-1b": (1_235_814_400, 0.808),
    "llama-3b": (3_212_749_824, 2.02),
    "granite-3.3-2b": (2_533_539_840, 1.55),
    "granite-4-micro": (3_402_836_480, 2.10),
    "phi-3.5-mini": (3_821_079_552, 2.39),
    "phi-4-mini": (3_836_021_760, 2.49),
    "mistral-7b": (7_248_023_552, 4.37),
    "llama-8b": (8_030_261_248, 4.92),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_with_a_wrong_width_head_or_layer_has_another_number_of_parameters(name: str) -> None:
    shape = SHAPES[name]
    tensors = [*vectors(shape), *matrices(shape)]
    # Phi's factors for long texts stand in its configuration, not among its weights.
    weights = sum(tensor.weights for tensor in tensors if not tensor.name.startswith("rope_factors"))
    assert weights == PUBLISHED[name][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_wrong_mix_of_quantised_types_makes_a_file_of_another_size(name: str) -> None:
    shape = SHAPES[name]
    size = sum(tensor.rows * tensor.row_bytes for tensor in (*vectors(shape), *matrices(shape)))
    # The published files hold a vocabulary besides, of up to 10 MB.
    assert size / 1e9 == pytest.approx(PUBLISHED[name][1], rel=0.005, abs=0.01)
