import torch

from tameshi.graphs.recorded import Recorded

torch.set_num_threads(1)


def test_a_recording_gives_what_the_function_gives_on_other_values():
    entered = []

    def slope(x, w):
        entered.append(x.shape)
        x = x.detach().requires_grad_()
        loss = torch.func.vmap(lambda own, one: (one @ own).tanh().square().sum())(w, x).sum()
        return loss.detach(), *torch.autograd.grad(loss, [x])

    recorded = Recorded(slope)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        x, w = torch.randn(3, 5, generator=generator), torch.randn(3, 5, 2, generator=generator)
        wanted = slope(x, w)
        entered.clear()
        found = recorded(x, w)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert not found[1].requires_grad
    assert not entered, "the last ones were replayed"


def test_every_shape_has_a_recording_of_its_own_from_its_second_coming_on():
    recorded = Recorded(lambda x: (x.sum(dim=0) / len(x),))
    for rows in (2, 3, 2, 3, 3):
        assert recorded(torch.ones(rows, 4))[0].tolist() == [1.0] * 4
    assert len(recorded.recordings) == 2
    assert recorded(torch.ones(5, 4))[0].tolist() == [1.0] * 4
    assert len(recorded.recordings) == 2
    assert recorded(torch.ones(3, 4, dtype=torch.float64))[0].dtype == torch.float64


def test_pooling_is_recorded_with_the_channels_last_and_gives_the_same_maxima_and_slopes():
    def pooled(x):
        x = x.detach().requires_grad_()
        found = torch.nn.functional.max_pool2d(x.relu(), 2, stride=1, padding=1)
        return found.detach(), *torch.autograd.grad(found.square().sum(), [x])

    recorded = Recorded(pooled)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(3, 9, 6, 6, generator=generator)
        assert all(torch.equal(a, b) for a, b in zip(recorded(x), pooled(x), strict=True))
    (recording,) = recorded.recordings.values()
    assert "channels_last" in recording.code
