package lora

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/autograd"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// Method adapts a model's layers.
type Method interface {
	// Wrap returns the layer that takes the place of base, or nil to leave it.
	Wrap(path string, base nn.Layer) nn.Layer
	// WrapEmbedder does the same for embeddings.
	WrapEmbedder(path string, base nn.Embedder) nn.Embedder
}

// Apply freezes a model and puts what the method wraps in the place of its
// layers. That nothing was wrapped is an error.
func Apply(model any, m Method) error {
	for _, p := range nn.Params(model) {
		p.Trainable = false
	}
	n := 0
	for _, s := range nn.Slots(model) {
		if e := s.Embedder(); e != nil {
			if w := m.WrapEmbedder(s.Path, e); w != nil {
				s.Set(w)
				n++
			}
		} else if w := m.Wrap(s.Path, s.Layer()); w != nil {
			s.Set(w)
			n++
		}
	}
	if n == 0 {
		return errors.New("the method matches no layer of the model")
	}
	return nil
}

// Linear is a linear layer with a place for low-rank terms: a call uses that of
// its adapter.
//
//	y = x·Wᵀ + b + s·((dropout(x)·Aᵀ)·Bᵀ + bB)
//
// Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021);
// PEFT, tuners/lora/layer.py.
type Linear struct {
	Base *nn.Linear `nn:"."`

	path   string
	merged *Adapter // into the model's weights; nil: none
}

// Affine returns the base's matrix with what the step's adapter adds to it.
func (l *Linear) Affine(s *nn.Step) autograd.Affine {
	f := l.Base.Affine(s)
	t, _ := s.Part(l).(*term)
	if t == nil || t.merged {
		return f
	}
	if t.rows != nil { // the head of a tied model, some of whose tokens are trained
		f.W = s.Tape.ReplaceRows(f.W, t.rows, t.ids)
	}
	if t.a != nil {
		f.A, f.B, f.BBias, f.Scale = t.a, t.b, t.bbias, t.scale
		if s.Train && t.dropout > 0 {
			f.Dropout, f.DropoutKey = t.dropout, tensor.StreamKey(s.Seed, l.path)
		}
	}
	return f
}

// Forward returns the layer's output with the step's adapter.
func (l *Linear) Forward(s *nn.Step, x *autograd.Value) *autograd.Value {
	return x.Affine(l.Affine(s))
}

// Embedding is an embedding with a place for adapters: a low-rank term, or rows
// that take the place of the table's.
//
//	y = E[ids] + s·(Aᵀ[ids])·Bᵀ
type Embedding struct {
	Base *nn.Embedding `nn:"."`

	merged *Adapter
}

// Table returns the base's weight.
func (e *Embedding) Table() *autograd.Value { return e.Base.Weight }

// Embed returns the rows of ids, with the step's adapter.
func (e *Embedding) Embed(s *nn.Step, ids []int32) *autograd.Value {
	x := e.Base.Embed(s, ids)
	t, _ := s.Part(e).(*term)
	if t == nil || t.merged {
		return x
	}
	if t.a != nil {
		x = x.Add(s.Tape.Embedding(t.a, ids, e.Base.Still...).MatMul(t.b).Scale(t.scale))
	}
	if t.rows != nil {
		x = t.replace(s, x, ids, e.Base.Still)
	}
	return x
}

// replace puts the trained rows in the place of those of their tokens. The rows of
// the ids in still get no gradient.
func (t *term) replace(s *nn.Step, x *autograd.Value, ids, still []int32) *autograd.Value {
	var stillRows []int32
	for _, id := range still {
		if j := slices.Index(t.ids, id); j >= 0 {
			stillRows = append(stillRows, int32(j))
		}
	}
	at := make([]int32, len(ids))
	own, base := make([]float32, len(ids)), make([]float32, len(ids))
	for i, id := range ids {
		if j := slices.Index(t.ids, id); j >= 0 {
			at[i], own[i] = int32(j), 1
		} else {
			base[i] = 1
		}
	}
	column := func(v []float32) *autograd.Value {
		return s.Tape.Input(s.Tape.Arena().FromF32(v, len(ids), 1))
	}
	return x.Mul(column(base)).Add(s.Tape.Embedding(t.rows, at, stillRows...).Mul(column(own)))
}

// term is one adapter's part of one layer.
type term struct {
	a, b    *autograd.Value // [r, in], [out, r] (of an embedding [V, r], [r, dim]); or nil
	bbias   *autograd.Value // [out], or nil
	scale   float64
	dropout float64

	rows *autograd.Value // [n, C], for the tokens ids; or nil
	ids  []int32

	merged bool
}

// parameter is one of an adapter's tensors.
type parameter struct {
	name       string // in the file
	also       string // a second name, of the same not transposed, or ""
	value      *autograd.Value
	transposed bool                // in the file
	init       func(dst []float32) // its first contents
}

// placed is a term and the layer that has the place for it.
type placed struct {
	path  string
	layer any // *Linear or *Embedding, once attached
	*term
}

// overlay is a parameter that takes the place of the model's own.
type overlay struct{ base, own *autograd.Value }

// Adapter is what was trained beside a frozen model: low-rank terms, and
// parameters that take the place of the model's own. Calls choose it (Use).
type Adapter struct {
	Name   string
	Config Config

	model    any
	params   []parameter
	terms    []*placed
	overlays []overlay
	own      []*autograd.Value // of overlays that are not trained
	done     func(stay bool)   // ends the replication of layers
	use      *nn.Adapter
	base     []*tensor.Tensor // the model's own tensors while merged, see targets

	mu      sync.Mutex
	holds   int
	removed bool
}

// Use returns the adapter as a step names it.
func (a *Adapter) Use() *nn.Adapter { return a.use }

// Hold returns the adapter as a step names it, and a function to call when the
// call is done: until then its memory stays, even if it is removed meanwhile. ok
// is false if it is removed already.
func (a *Adapter) Hold() (use *nn.Adapter, done func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return nil, func() {}, false
	}
	a.holds++
	return a.use, sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.holds--; a.holds == 0 && a.removed {
			a.release()
		}
	}), true
}

// design returns the adapter that a configuration asks for on a model, with
// shapes and no contents. The model is prepared for adapters (Prepare), and its layers
// are replicated if the configuration says so, until a.done(false) undoes it.
func design(model any, name string, c Config) (a *Adapter, err error) {
	if c.Targets.None() && c.Save == nil && c.Tokens == nil {
		if f, ok := model.(interface{ Family() string }); ok {
			c.Targets.List = DefaultTargets(f.Family())
		}
	}
	m, err := c.matcher()
	if err != nil {
		return nil, err
	}
	a = &Adapter{Name: name, model: model, done: func(bool) {}}
	defer func(a *Adapter) {
		if err != nil {
			a.done(false)
		}
	}(a)
	if c.Replicate != nil {
		r, ok := model.(interface {
			Replicate([][2]int) (func(stay bool), error)
		})
		if !ok {
			return nil, errors.New("layer_replication is not supported for the model")
		}
		if a.done, err = r.Replicate(c.Replicate); err != nil {
			a.done = func(bool) {}
			return nil, fmt.Errorf("layer_replication: %w", err)
		}
	}
	if err := Prepare(model); err != nil {
		return nil, err
	}
	slots, err := m.targets(model)
	if err != nil {
		return nil, err
	}
	a.Config = c
	embedding, head := a.tied()
	for _, s := range slots {
		if c.Tie && head != "" && s.Path == head && slices.ContainsFunc(slots, func(s nn.Slot) bool { return s.Path == embedding }) {
			continue // the embedding's term is the head's too
		}
		a.addTerm(m, s)
	}
	if err := a.addSaved(m); err != nil {
		return nil, err
	}
	if err := a.addBiases(slots); err != nil {
		return nil, err
	}
	if err := a.addTokens(); err != nil {
		return nil, err
	}
	return a, nil
}

func isOutput(model any, module string) bool {
	lm, ok := model.(nn.CausalLM)
	return ok && slices.ContainsFunc(nn.Slots(model), func(s nn.Slot) bool {
		return s.Path == module && s.Layer() != nil && s.Layer() == lm.Output()
	})
}

func (a *Adapter) add(name string, init func([]float32), shape ...int) *autograd.Value {
	v := autograd.Param(tensor.Meta(tensor.F32, shape...))
	a.params = append(a.params, parameter{name: name, value: v, init: init})
	return v
}

// addTerm adds the low-rank term of a slot.
func (a *Adapter) addTerm(m *matcher, s nn.Slot) {
	c := &a.Config
	r, scale := m.rank(s.Path)
	t := &term{scale: scale, dropout: c.Dropout}
	a.terms = append(a.terms, &placed{path: s.Path, term: t})
	if e := s.Embedder(); e != nil {
		v, dim := e.Table().T.Dim(0), e.Table().T.Dim(1)
		t.a = a.add(s.Path+".lora_embedding_A", nil, v, r)
		a.params[len(a.params)-1].transposed = true
		t.b = a.add(s.Path+".lora_embedding_B", nil, r, dim)
		a.params[len(a.params)-1].transposed = true
		if _, head := a.tied(); c.Tie && head != "" {
			// The head's term is the embedding's, seen from the other side.
			a.terms = append(a.terms, &placed{path: head, term: &term{a: t.b, b: t.a, scale: scale, dropout: c.Dropout}})
			n := len(a.params)
			a.params[n-2].also, a.params[n-1].also = head+".lora_B.weight", head+".lora_A.weight"
		}
		return
	}
	w := s.Layer().(nn.Affine).Affine(&nn.Step{}).W.Shape()
	t.a = a.add(s.Path+".lora_A.weight", nil, r, w[1])
	t.b = a.add(s.Path+".lora_B.weight", nil, w[0], r)
	if c.BBias {
		t.bbias = a.add(s.Path+".lora_B.bias", nil, w[0])
	}
}

// savedModules returns the outermost modules that modules_to_save names.
func savedModules(model any, m *matcher) map[string]bool {
	out := map[string]bool{}
	for _, module := range modules(model) { // sorted: what contains comes first
		inside := false
		for o := range out {
			inside = inside || strings.HasPrefix(module, o+".")
		}
		if !inside && m.saved(module) {
			out[module] = true
		}
	}
	return out
}

// addSaved adds copies of the parameters of modules that are trained whole.
func (a *Adapter) addSaved(m *matcher) error {
	saved := savedModules(a.model, m)
	for _, n := range m.c.Save {
		if !slices.ContainsFunc(modules(a.model), func(module string) bool { return strings.HasSuffix(module, n) }) {
			return fmt.Errorf("modules_to_save %q matches no module of the model", n)
		}
	}
	embedding, head := a.tied()
	if m.c.Tie && head != "" && (saved[embedding] || saved[head]) {
		// One parameter, which both have.
		own := a.overlay(embedding+".weight", weightOf(a.model, embedding))
		a.params[len(a.params)-1].also = head + ".weight"
		a.overlays = append(a.overlays, overlay{weightOf(a.model, head), own})
		delete(saved, embedding)
		delete(saved, head)
	}
	for name, p := range nn.Params(a.model) {
		for module := range saved {
			if strings.HasPrefix(name, module+".") {
				a.overlay(name, p)
			}
		}
	}
	return nil
}

// tied returns the names of the embedding and of the head that is tied to it, "" if
// there is none.
func (a *Adapter) tied() (embedding, head string) {
	if t, ok := a.model.(interface{ Tied() bool }); !ok || !t.Tied() {
		return "", ""
	}
	lm, _ := a.model.(nn.CausalLM)
	for _, s := range nn.Slots(a.model) {
		switch {
		case s.Embedder() != nil:
			embedding = s.Path
		case lm != nil && s.Layer() == lm.Output():
			head = s.Path
		}
	}
	return embedding, head
}

// overlay adds a parameter that takes the place of the model's p and begins as it.
func (a *Adapter) overlay(name string, p *autograd.Value) (own *autograd.Value) {
	own = a.add(name, p.T.CopyTo, p.Shape()...)
	a.overlays = append(a.overlays, overlay{p, own})
	return own
}

// addBiases adds copies of the model's biases that are trained.
func (a *Adapter) addBiases(targets []nn.Slot) error {
	adapted := map[string]bool{}
	for _, s := range targets {
		adapted[s.Path] = true
	}
	for name, p := range nn.Params(a.model) {
		module, ok := strings.CutSuffix(name, ".bias")
		if !ok || slices.ContainsFunc(a.overlays, func(o overlay) bool { return o.base == p }) {
			continue
		}
		switch {
		case adapted[module] && (a.Config.Bias == "all" || a.Config.Bias == "lora_only"):
			a.overlay(module+".base_layer.bias", p)
		case a.Config.Bias == "all":
			a.overlay(name, p)
		}
	}
	return nil
}

// addTokens adds rows for the tokens that are trained, to an embedding or a head,
// and where they are tied to both.
func (a *Adapter) addTokens() error {
	_, head := a.tied()
	tied := head != ""
	var shared *autograd.Value                                                     // rows of the embedding, which a tied head shares
	names := slices.SortedFunc(maps.Keys(a.Config.Tokens), func(x, y string) int { // embeddings first
		_, _, first := a.table(x)
		_, _, second := a.table(y)
		if first != second {
			return map[bool]int{true: -1, false: 1}[first]
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		ids := a.Config.Tokens[name]
		path, table, embedding := a.table(name)
		if table == nil {
			return fmt.Errorf("trainable_token_indices: %q is neither an embedding nor the head of the model", name)
		}
		seen := map[int32]bool{}
		for _, id := range ids {
			if id < 0 || int(id) >= table.T.Dim(0) || seen[id] {
				return fmt.Errorf("trainable_token_indices: token %d is outside the vocabulary of %d, or twice there", id, table.T.Dim(0))
			}
			seen[id] = true
		}
		if len(ids) == 0 || shared != nil && !embedding && slices.Equal(ids, a.at(path).ids) {
			continue
		}
		dim := table.T.Dim(1)
		rows := a.add(path+".token_adapter.trainable_tokens_delta", func(dst []float32) {
			for i, id := range ids {
				table.T.Slice(int(id), int(id)+1).CopyTo(dst[i*dim : (i+1)*dim])
			}
		}, len(ids), dim)
		a.at(path).rows, a.at(path).ids = rows, ids
		if tied && embedding {
			shared = rows
			a.at(head).rows, a.at(head).ids = rows, ids
		}
	}
	return nil
}

// table returns the embedding, or the head, of that name: its path and its weight.
func (a *Adapter) table(name string) (path string, w *autograd.Value, embedding bool) {
	for _, s := range nn.Slots(a.model) {
		if !named([]string{name}, s.Path) {
			continue
		}
		if e := s.Embedder(); e != nil {
			return s.Path, e.Table(), true
		}
		if isOutput(a.model, s.Path) {
			return s.Path, weightOf(a.model, s.Path), false
		}
	}
	return "", nil, false
}

// at returns the term of a layer, which it makes if there is none.
func (a *Adapter) at(path string) *term {
	for _, t := range a.terms {
		if t.path == path {
			return t.term
		}
	}
	t := &term{}
	a.terms = append(a.terms, &placed{path: path, term: t})
	return t
}

// places is the Method that gives every linear layer and every embedding a place for
// adapters.
type places struct{}

func (places) Wrap(path string, base nn.Layer) nn.Layer {
	if l, ok := base.(*nn.Linear); ok {
		return &Linear{Base: l, path: path}
	}
	return nil
}

func (places) WrapEmbedder(_ string, base nn.Embedder) nn.Embedder {
	if e, ok := base.(*nn.Embedding); ok {
		return &Embedding{Base: e}
	}
	return nil
}

// Prepare freezes a model and gives its layers places for adapters, which the first
// adapter does otherwise; tied weights become two parameters with the same contents.
// Afterwards adapters come and go while calls are under way, but for those that
// replicate layers.
func Prepare(model any) error {
	bare := slices.ContainsFunc(nn.Slots(model), func(s nn.Slot) bool {
		_, linear := s.Layer().(*nn.Linear)
		_, embedding := s.Embedder().(*nn.Embedding)
		return linear || embedding
	})
	if !bare {
		return nil
	}
	if t, ok := model.(interface{ Untie() }); ok {
		t.Untie()
	}
	return Apply(model, places{})
}

// attach gives the adapter, whose parameters have contents by now, its places.
func (a *Adapter) attach() {
	a.done(true)
	for _, p := range nn.Params(a.model) {
		if p.Trainable { // calls may be under way: what is so is not written
			p.Trainable = false
		}
	}
	a.use = &nn.Adapter{Parts: map[any]any{}, Params: map[*autograd.Value]*autograd.Value{}}
	layers := map[string]any{}
	for _, s := range nn.Slots(a.model) {
		if e := s.Embedder(); e != nil {
			layers[s.Path] = e
		} else {
			layers[s.Path] = s.Layer()
		}
	}
	for _, t := range a.terms {
		t.layer = layers[t.path]
		a.use.Parts[t.layer] = t.term
	}
	for _, o := range a.overlays {
		a.use.Params[o.base] = o.own
	}
}

// New freezes a model and adapts it by a new adapter, drawn from seed: A by
// PyTorch's Kaiming initialisation of a linear layer (uniform within ±1/√in), or
// as Config.Init says, and B zero, so that the model computes what it did. Of
// embeddings A is zero and B normal.
func New(model any, name string, c Config, seed uint64, dev tensor.Device) (*Adapter, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	a, err := design(model, name, c)
	if err != nil {
		return nil, err
	}
	for i, p := range a.params {
		t, err := tensor.Make(dev, p.value.Shape(), func(dst []float32) error {
			a.init(p, dst, tensor.NewRandom(seed, "lora "+p.name))
			return nil
		})
		if err != nil {
			a.releaseFirst(i)
			a.done(false)
			return nil, err
		}
		p.value.T = t
	}
	a.attach()
	return a, nil
}

// Outline is New of an adapter whose tensors have no particular contents: for those
// who ask what it takes and not what it computes.
func Outline(model any, name string, c Config, dev tensor.Device) (*Adapter, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	a, err := design(model, name, c)
	if err != nil {
		return nil, err
	}
	for _, p := range a.params {
		p.value.T = tensor.New(dev, tensor.F32, p.value.Shape()...)
	}
	a.attach()
	return a, nil
}

// init fills in a parameter's first contents.
func (a *Adapter) init(p parameter, dst []float32, random *tensor.Random) {
	clear(dst)
	shape := p.value.Shape()
	switch {
	case p.init != nil:
		p.init(dst)
	case strings.HasSuffix(p.name, ".lora_embedding_B"):
		random.Normal(dst, 0, 1)
	case strings.HasSuffix(p.name, ".lora_A.weight") && a.Config.Init == "gaussian":
		random.Normal(dst, 0, 1/float64(shape[0]))
	case strings.HasSuffix(p.name, ".lora_A.weight"), strings.HasSuffix(p.name, ".lora_B.weight") && a.Config.Init == "random":
		bound := 1 / math.Sqrt(float64(shape[1]))
		random.Uniform(dst, -bound, bound)
	}
}

// Params yields the adapter's parameters with their names in the file.
func (a *Adapter) Params() iter.Seq2[string, *autograd.Value] {
	return func(yield func(string, *autograd.Value) bool) {
		for _, p := range a.params {
			if !yield(prefix+p.name, p.value) {
				return
			}
		}
	}
}

// Elems returns the number of the adapter's parameters.
func (a *Adapter) Elems() int {
	n := 0
	for _, p := range a.params {
		n += p.value.T.Elems()
	}
	return n
}

// Remove takes the adapter off the model. Its memory is released when the last call
// that holds it is done. If it is merged it is unmerged first, for which no call may
// be under way.
func (a *Adapter) Remove() {
	a.Unmerge()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return
	}
	a.removed = true
	if a.holds == 0 {
		a.release()
	}
}

func (a *Adapter) release() {
	a.releaseFirst(len(a.params))
	for _, v := range a.own {
		v.T.Release()
	}
}

func (a *Adapter) releaseFirst(n int) {
	for _, p := range a.params[:n] {
		p.value.T.Release()
	}
}
