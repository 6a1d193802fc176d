package nn

import (
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// KVCache holds, for one row of text, the keys and values of the tokens that a
// model has seen, so that each further token costs one pass of one token. They lie
// head by head, each head's one after the other. Memory grows with the text, by
// doubling.
type KVCache struct {
	dev          tensor.Device
	dt           tensor.DType
	capacity     int
	heads, dim   int
	keys, values []*tensor.Tensor // by layer: [KV, room, D], nil before the first token
	n            int
}

// firstRoom is the number of tokens that a cache has room for at first.
const firstRoom = 256

// NewKVCache returns an empty cache for up to capacity tokens of a model with so
// many layers and key heads, of size dim. It stores them as dt: F32, F16, or
// Q8_0, which are 4, 2 and 17/16 bytes a number and whose numbers keep 24, 11 and
// about 7 bits. It belongs to the caller, who closes it. Which types there are is
// up to the device; a head of Q8_0 is a multiple of 32 long.
func NewKVCache(dev tensor.Device, dt tensor.DType, layers, capacity, heads, dim int) (*KVCache, error) {
	block, _ := dt.Block()
	switch {
	case dt == tensor.F32:
	case dt != tensor.F16 && dt != tensor.Q8_0:
		return nil, fmt.Errorf("a key-value cache of %v: want F32, F16 or Q8_0", dt)
	case dev.Kernels().Encode == nil || dev.Kernels().Attention == nil:
		return nil, fmt.Errorf("%s has no key-value cache of %v, but of F32", dev.Name(), dt)
	case dim%block != 0:
		return nil, fmt.Errorf("a key-value cache of %v wants heads of a multiple of %d, not of %d", dt, block, dim)
	}
	return &KVCache{dev: dev, dt: dt, capacity: capacity, heads: heads, dim: dim,
		keys: make([]*tensor.Tensor, layers), values: make([]*tensor.Tensor, layers)}, nil
}

// Len returns the number of tokens in the cache.
func (c *KVCache) Len() int { return c.n }

// Cap returns the number of tokens that fit.
func (c *KVCache) Cap() int { return c.capacity }

// Bytes returns the memory that the cache takes by now.
func (c *KVCache) Bytes() int {
	n := 0
	for i := range c.keys {
		for _, t := range []*tensor.Tensor{c.keys[i], c.values[i]} {
			if t != nil {
				n += c.dt.Bytes(t.Elems())
			}
		}
	}
	return n
}

// Truncate forgets all but the first n tokens.
func (c *KVCache) Truncate(n int) { c.n = min(n, c.n) }

// Append stores the keys and values [1, T, KV, D] of the call's tokens in a
// layer and returns those of all tokens, [1, KV, Room, D], and their number, as
// autograd.Mask wants it. The tokens count only once the model has called Advance,
// after its last layer.
func (c *KVCache) Append(layer int, k, v *autograd.Value) (allK, allV *autograd.Value, n int) {
	return c.store(&c.keys[layer], k), c.store(&c.values[layer], v), c.n + k.T.Dim(1)
}

func (c *KVCache) store(to **tensor.Tensor, x *autograd.Value) *autograd.Value {
	t := x.T.Dim(1)
	if x.T.Dim(0) != 1 || c.n+t > c.capacity || x.T.Elems() != t*c.heads*c.dim {
		tensor.Bad("append to a key-value cache", fmt.Sprintf("one row and at most %d tokens in all, of %d heads of %d", c.capacity, c.heads, c.dim), x.T)
	}
	c.grow(to, c.n+t)
	rows := x.T.Reshape(t, c.heads, c.dim)
	if t > 1 {
		rows = rows.Permute(1, 0, 2)
	}
	all := (*to).In(x.Tape().Arena())
	copyHeads(all, rows.Reshape(c.heads, t, c.dim), c.n)
	return x.Tape().Input(all.Reshape(1, c.heads, all.Dim(1), c.dim))
}

// copyHeads copies src [KV, n, D] to the places from at on of dst [KV, room, D].
func copyHeads(dst, src *tensor.Tensor, at int) {
	heads, room, n, d := dst.Dim(0), dst.Dim(1), src.Dim(1), dst.Dim(2)
	dst, src = dst.Reshape(heads*room, d), src.Reshape(heads*n, d)
	for h := range heads {
		dst.Slice(h*room+at, h*room+at+n).CopyFrom(src.Slice(h*n, h*n+n))
	}
}

// grow makes room for n tokens.
func (c *KVCache) grow(to **tensor.Tensor, n int) {
	old, room := *to, firstRoom
	if old != nil {
		if n <= old.Dim(1) {
			return
		}
		room = 2 * old.Dim(1)
	}
	*to = tensor.New(c.dev, c.dt, c.heads, min(max(n, room), c.capacity), c.dim)
	if old != nil {
		copyHeads(*to, old, 0)
		old.Release()
	}
}

// Advance counts the call's T tokens as seen.
func (c *KVCache) Advance(t int) { c.n += t }

// Close releases the cache's memory.
func (c *KVCache) Close() {
	for _, all := range [][]*tensor.Tensor{c.keys, c.values} {
		for i, t := range all {
			if t != nil {
				t.Release()
			}
			all[i] = nil
		}
	}
}
