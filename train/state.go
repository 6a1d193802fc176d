package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/format/safetensors"
	"github.com/tenon-ml/tenon/internal/mapped"
	"github.com/tenon-ml/tenon/nn"
	"github.com/tenon-ml/tenon/tensor"
)

// StateFile and OptimizerFile are the names of the files that a checkpoint has
// beside the weights.
const (
	StateFile     = "trainer_state.json"
	OptimizerFile = "optimizer.safetensors"
)

// State is where a run stands. With the trained weights, which their owner saves,
// and the optimizer's moments it is all that is needed to go on with the run as if
// it had never stopped: the order of the data follows from seed and epoch, dropout
// from seed and step. What the file shares with that of transformers' Trainer has
// its names.
type State struct {
	Step  int     `json:"global_step"` // steps taken
	Steps int     `json:"max_steps"`   // steps in all
	Epoch float64 `json:"epoch"`       // times gone through the data

	// Options are what the run was asked for, and Digests what it was given, in
	// the words of who runs it: going on with others gives another result.
	Options map[string][]string `json:"options,omitempty"`
	Digests map[string]string   `json:"digests,omitempty"`

	History []Report     `json:"log_history"`            // of all steps taken
	Evals   []Evaluation `json:"eval_history,omitempty"` // on held-out data
}

// Evaluation is a measurement during a run.
type Evaluation struct {
	Step int `json:"step"` // after so many steps
	Result
}

// SaveState writes a run's state and its optimizer's moments into a folder that
// exists, beside the weights. The folder becomes a checkpoint that is there whole
// or not at all if it is filled in under another name, synced, and renamed.
func SaveState(dir string, s State, o *AdamW) error {
	if s.Step != o.step || len(s.History) != s.Step {
		return fmt.Errorf("%s: the state is of step %d with the reports of %d, the optimizer of step %d", dir, s.Step, len(s.History), o.step)
	}
	if err := o.Save(filepath.Join(dir, OptimizerFile)); err != nil {
		return err
	}
	path := filepath.Join(dir, StateFile)
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o666)
}

// maxState bounds the bytes of a state's file: of a million steps or so.
const maxState = 1 << 28

// ReadState reads what SaveState wrote but the moments, and checks that their
// file is whole.
func ReadState(dir string) (State, error) {
	path := filepath.Join(dir, StateFile)
	var s State
	b, err := mapped.ReadFile(path, maxState)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if s.Step < 1 || s.Step > s.Steps || len(s.History) != s.Step {
		return s, fmt.Errorf("%s: global_step is %d of %d with %d entries in log_history, want 1 or more and as many entries", path, s.Step, s.Steps, len(s.History))
	}
	f, step, err := openMoments(filepath.Join(dir, OptimizerFile))
	if err != nil {
		return s, err
	}
	if err := f.Close(); err != nil {
		return s, err
	}
	if step != s.Step {
		return s, fmt.Errorf("%s: is of step %d, %s of step %d", filepath.Join(dir, OptimizerFile), step, StateFile, s.Step)
	}
	return s, nil
}

// The names of a parameter's moments in the file, as in PyTorch's optimizer.
const (
	momentM = ".exp_avg"
	momentV = ".exp_avg_sq"
)

// part is a tensor of the optimizer's file.
type part struct {
	name  string // behind the parameter's
	dtype tensor.DType
	shape tensor.Shape
	write func(w io.Writer) error
	read  func(data []byte) error
}

// tensorPart is the part that a tensor is.
func tensorPart(name string, t *tensor.Tensor) part {
	return part{
		name: name, dtype: t.DType(), shape: t.Shape(),
		write: func(w io.Writer) error {
			_, err := w.Write(t.Raw())
			return err
		},
		read: func(data []byte) error { return t.SetRaw(data) },
	}
}

// parts yields the tensors of the optimizer's file with their names.
func (o *AdamW) parts() []part {
	all := slices.Clone(o.shared)
	for i, p := range o.params {
		for _, q := range o.moments[i].parts() {
			q.name = p.Name + q.name
			all = append(all, q)
		}
	}
	return all
}

// Save writes the optimizer's moments and the number of steps taken into a
// safetensors file, "step" in the metadata. In F32 and paged they are NAME.exp_avg and
// NAME.exp_avg_sq; in 8 bits NAME.state1, .state2, .absmax1 and .absmax2 with qmap1 and
// qmap2, bitsandbytes' names, of small tensors .state1 and .state2 in F32.
func (o *AdamW) Save(path string) error {
	var entries []safetensors.Entry
	for _, p := range o.parts() {
		entries = append(entries, safetensors.Entry{Name: p.name, DType: p.dtype, Shape: p.shape, Data: p.write})
	}
	return safetensors.Write(path, entries, map[string]string{"format": "pt", "step": strconv.Itoa(o.step)})
}

// Load takes moments and the number of steps from a file that Save wrote for the
// same parameters. Tensors that are missing, too many or misshapen are reported
// together, and then the optimizer is as it was.
func (o *AdamW) Load(path string) error {
	f, step, err := openMoments(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var bad []string
	left := map[string]bool{}
	for _, n := range f.Names() {
		left[n] = true
	}
	for _, p := range o.parts() {
		info, ok := f.Info(p.name)
		delete(left, p.name)
		switch {
		case !ok:
			bad = append(bad, fmt.Sprintf("tensor %q is missing", p.name))
		case info.DType != p.dtype || !slices.Equal(info.Shape, p.shape):
			bad = append(bad, fmt.Sprintf("tensor %q is %v %v, want %v %v", p.name, info.DType, tensor.Shape(info.Shape), p.dtype, p.shape))
		}
	}
	for _, name := range f.Names() {
		if left[name] {
			bad = append(bad, fmt.Sprintf("tensor %q is unexpected", name))
		}
	}
	if bad != nil {
		return fmt.Errorf("%s: %w", path, nn.Problems(bad))
	}
	for _, p := range o.parts() {
		if err := f.View(p.name, p.read); err != nil {
			return fmt.Errorf("%s: tensor %q: %w", path, p.name, err)
		}
	}
	o.step = step
	return nil
}

// openMoments opens a file of moments and returns its number of steps.
func openMoments(path string) (*safetensors.File, int, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, 0, err
	}
	step, err := strconv.Atoi(f.Metadata()["step"])
	if err != nil || step < 0 {
		return nil, 0, errors.Join(fmt.Errorf("%s: metadata \"step\" is %q, want a number", path, f.Metadata()["step"]), f.Close())
	}
	return f, step, nil
}
