"""Attention processors for diffusers' WanTransformer3DModel: cached keys and values, RoPE on read (ALGORITHMS 6).

A transformer block calls its processors with the hidden states of F frames, [F, T, D]: frames are its batch, so that
its modulation, one row for each of the batch, is one for each frame. Attention itself runs over all F T tokens. What a
pass sees comes in through the arguments, never through the processors: sessions share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TextMemory = tuple[Tensor, Tensor]
"""Keys and values of the prompt in one layer, [1, tokens, heads, width] each."""


@dataclass(frozen=True)
class Sight:
    """What the frames of one pass see in one layer; takes the place of a block's rotary embedding.

    Attributes:
        keys, values: the layer's cache, [places, tokens, heads, width], keys un-rotated.
        past: places of the finished blocks that are seen, in order of position; int64.
        write: place at which the pass leaves its own keys and values, after it has read; None: nowhere. int64 [1].
        cos, sin: rotations for positions from 0, [tokens, 1, width], each angle twice.
    """

    keys: Tensor
    values: Tensor
    past: Tensor
    write: Tensor | None
    cos: Tensor
    sin: Tensor


class RollingSelfAttention:
    """All frames of a pass attend to the finished blocks and, in both directions, to one another."""

    _attention_backend: Any = None  # set by diffusers' set_attention_backend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        rotary_emb: Sight | None = None,
    ) -> Tensor:
        """Hidden states [F, T, D] to their attention's output of the same shape."""
        sight = rotary_emb
        assert sight is not None
        x = hidden_states.flatten(0, 1)[None]
        query = _heads(attn, attn.norm_q(attn.to_q(x)))
        key = _heads(attn, attn.norm_k(attn.to_k(x)))
        value = _heads(attn, attn.to_v(x))
        keys = torch.cat([sight.keys.index_select(0, sight.past).flatten(0, 1)[None], key], dim=1)
        values = torch.cat([sight.values.index_select(0, sight.past).flatten(0, 1)[None], value], dim=1)
        if sight.write is not None:
            sight.keys.index_copy_(0, sight.write, key)
            sight.values.index_copy_(0, sight.write, value)
        end, begin = keys.shape[1], keys.shape[1] - query.shape[1]
        query = rotate(query, sight.cos[begin:end], sight.sin[begin:end])
        keys = rotate(keys, sight.cos[:end], sight.sin[:end])
        return _attend(self._attention_backend, attn, query, keys, values).view_as(hidden_states)


class RollingCrossAttention:
    """All frames attend to the prompt, whose keys and values were computed when it was set."""

    _attention_backend: Any = None

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: TextMemory | None = None,
        attention_mask: None = None,
        rotary_emb: None = None,
    ) -> Tensor:
        """Hidden states [F, T, D] to their attention's output of the same shape."""
        assert encoder_hidden_states is not None
        keys, values = encoder_hidden_states
        query = _heads(attn, attn.norm_q(attn.to_q(hidden_states.flatten(0, 1)[None])))
        return _attend(self._attention_backend, attn, query, keys, values).view_as(hidden_states)


def text_memory(attn: Any, text: Tensor) -> TextMemory:
    """Keys and values of a prompt, embedded to the transformer's width [1, L, D], for one cross-attention layer."""
    return _heads(attn, attn.norm_k(attn.to_k(text))), _heads(attn, attn.to_v(text))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on pairs of neighbouring channels (arXiv 2104.09864): x [1, n, heads, width], cos and sin [n, 1, width]."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (x * cos + turned * sin).type_as(x)


def _heads(attn: Any, x: Tensor) -> Tensor:
    return x.unflatten(2, (attn.heads, -1))


def _attend(backend: Any, attn: Any, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention through whichever backend diffusers is set to, and the output projection; [1, n, D]."""
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    out: Any = dispatch_attention_fn(query, keys, values, backend=backend)
    return attn.to_out[0](out.flatten(2, 3).type_as(query))
