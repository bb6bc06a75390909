"""Memory of results that is used again is never taken from one that somebody still holds."""

import pytest
import torch

from tameshi.merging.pieces import elementwise, one_thread, side_by_side
from tameshi.merging.room import Room

SHAPE = torch.Size([4, 8])


def test_what_is_let_go_is_given_out_again():
    room = Room()
    first = room.empty(SHAPE, dtype=torch.float32)
    place = first.data_ptr()
    del first
    assert room.empty(torch.Size([8]), dtype=torch.bfloat16).data_ptr() == place


@pytest.mark.parametrize("hold", [lambda t: t, lambda t: t[1:], lambda t: t.view(torch.uint8).numpy().data])
def test_what_is_held_stays_as_it_is(hold):
    room = Room()
    first = room.empty(SHAPE, dtype=torch.float32).fill_(1)
    place, held = first.data_ptr(), hold(first)
    before = bytes(held.contiguous().view(torch.uint8).numpy()) if isinstance(held, torch.Tensor) else bytes(held)
    del first
    second = room.empty(SHAPE, dtype=torch.float32).fill_(2)
    assert second.data_ptr() != place
    after = bytes(held.contiguous().view(torch.uint8).numpy()) if isinstance(held, torch.Tensor) else bytes(held)
    assert after == before


def test_what_is_too_small_and_unused_is_let_go():
    room = Room()
    held = [room.empty(SHAPE, dtype=torch.float32) for _ in range(3)]
    held.pop()
    room.empty(torch.Size([100]), dtype=torch.float32)
    assert sorted(array.nbytes for array in room._arrays) == [128, 128, 400]


def test_a_method_may_hold_two_results():
    one, two = torch.arange(5.0), torch.arange(5.0) * 10

    def method():
        first, second = (elementwise(lambda x: x.add_(1), t) for t in (one, two))
        return first + second

    with side_by_side() as threads:
        assert all(torch.equal(threads.submit(method).result(), one + two + 2) for _ in range(5))


def test_threads_side_by_side_give_what_one_gives():
    tensors = [torch.randn(400, 400) for _ in range(20)]

    def method(i):
        return float(elementwise(lambda x, y: x.mul_(2).add_(y), tensors[i], tensors[i - 1]).sum())

    with side_by_side() as threads:
        assert list(threads.map(method, range(20))) == [method(i) for i in range(20)]


def test_shapes_without_entries_and_single_numbers():
    room = Room()
    for shape in (torch.Size([0, 4]), torch.Size([])):
        assert room.empty(shape, dtype=torch.bfloat16).shape == shape


def test_the_number_of_threads_is_what_it_was_even_after_an_error():
    before, within = torch.get_num_threads(), []

    def broken():
        with one_thread():
            within.append(torch.get_num_threads())
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert (within, torch.get_num_threads()) == ([1], before)
