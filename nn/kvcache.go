package nn

import (
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// KVCache holds, for one row of text, the keys and values of the tokens that a
// model has seen, so that each further token costs one pass of one token. Its memory
// grows with the text, by doubling.
type KVCache struct {
	dev             tensor.Device
	capacity, kvDim int
	k, v            []*tensor.Tensor // by layer: [room, KV·D], nil before the first token
	n               int
}

// firstRoom is the number of tokens that a cache has room for at first.
const firstRoom = 256

// NewKVCache returns an empty cache for up to capacity tokens of a model with
// the given number of layers and kvDim = key heads × head size. It belongs to
// the caller, who closes it.
func NewKVCache(dev tensor.Device, layers, capacity, kvDim int) *KVCache {
	return &KVCache{dev: dev, capacity: capacity, kvDim: kvDim,
		k: make([]*tensor.Tensor, layers), v: make([]*tensor.Tensor, layers)}
}

// Len returns the number of tokens in the cache.
func (c *KVCache) Len() int { return c.n }

// Cap returns the number of tokens that fit.
func (c *KVCache) Cap() int { return c.capacity }

// Truncate forgets all but the first n tokens.
func (c *KVCache) Truncate(n int) { c.n = min(n, c.n) }

// Append stores the keys and values [1, T, KV, D] of the call's tokens in a
// layer and returns those of all tokens, [1, Len+T, KV, D]. The tokens count
// only once the model has called Advance, after its last layer.
func (c *KVCache) Append(layer int, k, v *autograd.Value) (allK, allV *autograd.Value) {
	return c.store(&c.k[layer], k), c.store(&c.v[layer], v)
}

func (c *KVCache) store(to **tensor.Tensor, x *autograd.Value) *autograd.Value {
	s := x.Shape()
	end := c.n + s[1]
	if s[0] != 1 || end > c.capacity {
		tensor.Bad("append to a key-value cache", fmt.Sprintf("one row and at most %d tokens in all", c.capacity), x.T)
	}
	c.grow(to, end)
	all := (*to).In(x.Tape().Arena())
	all.Slice(c.n, end).CopyFrom(x.T.Reshape(s[1], s[2]*s[3]))
	return x.Tape().Input(all.Slice(0, end).Reshape(1, end, s[2], s[3]))
}

// grow makes room for n tokens.
func (c *KVCache) grow(to **tensor.Tensor, n int) {
	old, room := *to, firstRoom
	if old != nil {
		if n <= old.Dim(0) {
			return
		}
		room = 2 * old.Dim(0)
	}
	*to = tensor.New(c.dev, tensor.F32, min(max(n, room), c.capacity), c.kvDim)
	if old != nil {
		(*to).Slice(0, c.n).CopyFrom(old.Slice(0, c.n))
		old.Release()
	}
}

// Advance counts the call's T tokens as seen.
func (c *KVCache) Advance(t int) { c.n += t }

// Close releases the cache's memory.
func (c *KVCache) Close() {
	for _, all := range [][]*tensor.Tensor{c.k, c.v} {
		for i, t := range all {
			if t != nil {
				t.Release()
			}
			all[i] = nil
		}
	}
}
