package tenon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/format/gguf"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// MergeOptions say how Merge writes.
type MergeOptions struct {
	Threads int // to compute with; 0: all cores

	// DType is the type of the weights, a key of StoredTypes. "" gives each the type
	// that it has in the base, and F32 to what is stored in fewer bits.
	DType string

	// Requantize encodes the merged weights of linear layers, but the head's, in NF4 or
	// FP4, which changes them by about as much as it did the base's. The zero value does
	// not. With Q8_0, for a GGUF file, out gets a GGUF file too (MergedGGUF) in which the
	// matrices that the adapter changes are in Q8_0 and all else is as it was. Report, if
	// there is one, is told what encoding did to each.
	Requantize tensor.QuantOptions
	Report     func(QuantError)
}

// Merge writes the Hugging Face checkpoint that the model and the adapter at these
// paths are together into the folder out: what Load, lora.Load, Merge and
// SaveCheckpoint would, but tensor by tensor. Each is decoded, W + s·B·A, and written,
// so that it takes no more memory than the largest tensor in F32 and the adapter; with
// Requantize also one file's quantised weights, at most 512 MiB. A base in 4 bits is
// decoded and, without Requantize, not encoded again.
func Merge(ctx context.Context, path, adapter, out string, o MergeOptions, warn func(string, ...any)) error {
	dev := tensor.NewCPU(o.Threads)
	return errors.Join(merge(ctx, dev, path, adapter, out, o, warn), dev.Close())
}

func merge(ctx context.Context, dev *tensor.CPU, path, adapter, out string, o MergeOptions, warn func(string, ...any)) (err error) {
	f, lm, err := openShapes(path, warn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	m := merger{Model: newModel(path, lm, dev), ctx: ctx, source: f.tensors, from: adapter, names: map[*tensor.Tensor]string{}}
	// The names that parameters have in the source, which replication changes: then
	// several parameters have the contents of one.
	largest := 0
	for name, p := range nn.Params(lm) {
		m.names[p.T] = name
		largest = max(largest, p.T.Elems())
	}
	if o.Requantize.DType != tensor.Q8_0 {
		if err := m.Savable(); err != nil {
			return err
		}
	} else if _, ok := f.tensors.(*ggufSource); !ok {
		return fmt.Errorf("%s: is no GGUF file: merged weights can be written as Q8_0 into one alone", path)
	}
	tied, blocks := lm.Tied(), len(lm.Block)
	if m.adapter, err = lora.Load(lm, "adapter", adapter, dev); err != nil {
		return err
	}
	defer m.adapter.Remove()
	if err := m.adapter.Mergeable(); err != nil {
		return fmt.Errorf("%s: %w", adapter, err)
	}
	if len(lm.Block) != blocks && o.Requantize.DType == tensor.Q8_0 {
		return fmt.Errorf("%s: replicates layers, which a GGUF file of the base's cannot hold", adapter)
	}
	return tensor.Try(func() error {
		m.work = tensor.New(dev, tensor.F32, largest)
		defer m.work.Release()
		if tied {
			if tied, err = m.stayTied(); err != nil {
				return err
			}
		}
		if o.Requantize.DType == tensor.Q8_0 {
			return m.saveGGUF(filepath.Join(out, MergedGGUF), f, tied, o)
		}
		return m.save(out, o.form(f), tied, m.contents, warn)
	})
}

// form returns how what is merged into a base is written.
func (o *MergeOptions) form(base *source) form {
	f := asStored(base)
	if o.DType != "" {
		f = formOf(o.DType)
	}
	f.quant, f.report = o.Requantize, o.Report
	return f
}

// merger is a model whose parameters are without contents, and where they come from.
type merger struct {
	*Model
	ctx     context.Context
	source  nn.Source
	names   map[*tensor.Tensor]string // in the source
	adapter *lora.Adapter
	from    string         // the adapter's folder
	work    *tensor.Tensor // room for any of them
}

// contents returns what merging makes of a parameter, good until the next call.
func (m *merger) contents(p *autograd.Value) (*tensor.Tensor, error) {
	if err := m.ctx.Err(); err != nil {
		return nil, err
	}
	name := m.names[p.T]
	w := m.work.Slice(0, p.T.Elems()).Reshape(p.Shape()...)
	if err := m.source.Decode(w.F32(), name); err != nil || !m.adapter.Changes(p) {
		return w, err
	}
	m.adapter.MergeInto(w, p)
	if tensor.Finite(w.F32()) {
		return w, nil
	}
	who := m.from
	if err := m.source.Decode(w.F32(), name); err != nil || !tensor.Finite(w.F32()) {
		who = m.Path
	}
	return nil, fmt.Errorf("%s: tensor %q, merged, is not finite", who, name)
}

// MergedGGUF is the name of the file that Merge writes with Requantize in Q8_0.
const MergedGGUF = "model.Q8_0.gguf"

// saveGGUF writes the base's GGUF file with what the adapter changes.
func (m *merger) saveGGUF(path string, f *source, tied bool, o MergeOptions) error {
	src := f.tensors.(*ggufSource)
	if f.config.TieWordEmbeddings && !tied {
		return fmt.Errorf("%s: changes one of the embedding and the head that are tied to each other, which a GGUF file of the base's cannot hold", m.from)
	}
	types := map[string]tensor.DType{}
	params := map[string]*autograd.Value{} // by the name in the file
	names := map[string]string{}
	for name, p := range nn.Params(m.LM) {
		if !m.adapter.Changes(p) || tied && name == "lm_head.weight" {
			continue
		}
		at := src.stored[name]
		params[at], names[at], types[at] = p, name, tensor.F32
		if len(p.Shape()) == 2 {
			types[at] = tensor.Q8_0
		}
	}
	return src.f.Rewrite(path, tensor.Q8_0, types, func(at string) ([]byte, error) {
		name := names[at]
		w, err := m.contents(params[at])
		if err != nil {
			return nil, err
		}
		b := w.Bytes()
		if types[at] == tensor.Q8_0 {
			q, err := tensor.Quantize(m.Device, w.F32(), w.Shape(), o.Requantize)
			if err != nil {
				return nil, fmt.Errorf("%s: tensor %q: %w", m.Path, name, err)
			}
			defer q.Release()
			if o.Report != nil {
				o.Report(quantError(name, w.F32(), q))
			}
			b = q.Bytes()
		}
		ordered := make([]byte, len(b))
		if heads, permuted := src.heads[name]; permuted {
			rows := w.Dim(0)
			gguf.PermuteRows(ordered, b, rows, len(b)/rows, heads)
		} else {
			copy(ordered, b)
		}
		return ordered, nil
	})
}

// stayTied reports whether the head of a model with tied weights is still its
// embedding.
func (m *merger) stayTied() (bool, error) {
	embedding, head := m.LM.Embed.Table(), m.LM.Head.(nn.Affine).Affine(&nn.Step{}).W
	switch e, h := m.adapter.Changes(embedding), m.adapter.Changes(head); {
	case !e && !h:
		return true, nil
	case !e || !h:
		return false, nil
	}
	var sums [2][]byte
	for i, p := range []*autograd.Value{embedding, head} {
		w, err := m.contents(p)
		if err != nil {
			return false, err
		}
		sums[i] = sum(w)
	}
	return string(sums[0]) == string(sums[1]), nil
}
