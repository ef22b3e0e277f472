"""The LSVRU head against numbers that upstream's own code computed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from tests.recognition.conftest import LOGITS, assert_gradients_are, assert_logits_are, derived, upstream_lsvru
from tests.refusals import refused
from workbench.recognition.lsvru import LsvruConfig, LsvruHead


@pytest.fixture(scope="module")
def upstream(reference_fixtures):
    expected = dict(np.load(reference_fixtures / "lsvru_head.npz", allow_pickle=False))
    features = [derived(expected, f"lsvru.input.{name}", (48, 4096)) for name in ("f_s", "f_r", "f_o")]
    return upstream_lsvru(expected), features, expected


def test_activations_logits_and_probabilities_are_upstreams(upstream):
    head, features, expected = upstream
    with torch.no_grad():
        assert_logits_are(head(*features), expected)
        visual = head.visual_embeddings(*(feature[:4] for feature in features))
        joint = head.first_embeddings(*(feature[:4] for feature in features))[2]
        objects, relations = head.class_embeddings()
    found = {"v_s": visual.subject, "v_o": visual.object, "h": joint, "v_p": visual.relation,
             "E_so_raw": objects[:4], "E_p_raw": relations[:4]}  # fmt: skip
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[f"dbg_{name}"], **LOGITS, err_msg=name)


def test_gradients_are_upstreams(upstream):
    head, features, expected = upstream
    logits, parameters = head(*features), dict(head.named_parameters())
    assert_gradients_are(head, logits, expected)
    loss = functional.cross_entropy(logits.relation, torch.from_numpy(expected["grad_labels_prd"]).long())
    chosen = [parameters[key] for key in expected["grad_keys"]]
    only = torch.autograd.grad(loss, chosen, allow_unused=True, materialize_grads=True)
    norms = [float(gradient.double().norm()) for gradient in only]
    np.testing.assert_allclose(norms, expected["grad_norm_prd_only"], rtol=1e-4)


def test_words_of_another_vocabulary_are_refused():
    refused(r"relation_vectors.*\(4, 5\)", LsvruHead, LsvruConfig(8, 5, 4, 3, 6), torch.randn(4, 5), torch.randn(3, 5))


def test_separate_roles_tell_subject_from_object_in_one_feature():
    config = LsvruConfig(6, 5, 4, 3, 8, separate_roles=True)
    words = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.randn(4, 5)
    head, shared = (LsvruHead(c, *words).initialise(0) for c in (config, LsvruConfig(6, 5, 4, 3, 8)))
    union = torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
    own, one = head(union, union, union), shared(union, union, union)
    assert not torch.allclose(own.subject, own.object) and torch.allclose(one.subject, one.object)
    assert torch.allclose(own.subject, one.subject)
