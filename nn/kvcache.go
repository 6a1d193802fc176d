package nn

import (
	"fmt"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/tensor"
)

// KVCache holds, for one row of text, the keys and values of the tokens that a
// model has seen, so that each further token costs one pass of one token.
type KVCache struct {
	k, v []*tensor.Tensor // by layer: [capacity, KV·D]
	n    int
}

// NewKVCache returns an empty cache for up to capacity tokens of a model with
// the given number of layers and kvDim = key heads × head size. It belongs to
// the caller, who closes it.
func NewKVCache(dev tensor.Device, layers, capacity, kvDim int) *KVCache {
	c := &KVCache{}
	defer func() {
		if p := recover(); p != nil { // out of memory half way
			c.Close()
			panic(p)
		}
	}()
	for range layers {
		c.k = append(c.k, tensor.New(dev, tensor.F32, capacity, kvDim))
		c.v = append(c.v, tensor.New(dev, tensor.F32, capacity, kvDim))
	}
	return c
}

// Len returns the number of tokens in the cache.
func (c *KVCache) Len() int { return c.n }

// Cap returns the number of tokens that fit.
func (c *KVCache) Cap() int { return c.k[0].Dim(0) }

// Truncate forgets all but the first n tokens.
func (c *KVCache) Truncate(n int) { c.n = min(n, c.n) }

// Append stores the keys and values [1, T, KV, D] of the call's tokens in a
// layer and returns those of all tokens, [1, Len+T, KV, D]. The tokens count
// only once the model has called Advance, after its last layer.
func (c *KVCache) Append(layer int, k, v *autograd.Value) (allK, allV *autograd.Value) {
	return store(c.k[layer], c.n, k), store(c.v[layer], c.n, v)
}

func store(all *tensor.Tensor, n int, x *autograd.Value) *autograd.Value {
	s := x.Shape()
	end := n + s[1]
	if s[0] != 1 || end > all.Dim(0) {
		tensor.Bad("append to a key-value cache", fmt.Sprintf("one row and at most %d tokens in all", all.Dim(0)), x.T)
	}
	all.Slice(n, end).CopyFrom(x.T.Reshape(s[1], s[2]*s[3]))
	return x.Tape().Input(all.Slice(0, end).Reshape(1, end, s[2], s[3]))
}

// Advance counts the call's T tokens as seen.
func (c *KVCache) Advance(t int) { c.n += t }

// Close releases the cache's memory.
func (c *KVCache) Close() {
	for i := range c.k {
		c.k[i].Release()
		c.v[i].Release()
	}
	c.k, c.v = nil, nil
}
