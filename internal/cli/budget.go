package cli

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/machine"
	"github.com/tenon-ml/tenon/lora"
	"github.com/tenon-ml/tenon/plan"
	"github.com/tenon-ml/tenon/train"
)

// budget is the memory that a training run may have and what it is planned to take.
type budget struct {
	memory string // --memory
	optim  string // --optim

	limit   int64 // 0: nobody knows
	model   *plan.Model
	options plan.Options
	plan    *plan.Plan
	besides int64 // what the process has besides the plan's parts, the runtime's heap above all
}

func (b *budget) check() (err error) {
	if !slices.Contains(plan.Optimizers, b.optim) {
		return usagef("--optim is %q, want one of %s", b.optim, strings.Join(plan.Optimizers, ", "))
	}
	if b.memory != "" {
		if b.limit, err = parseSize(b.memory); err != nil {
			return usagef("--memory: %w", err)
		}
	}
	return nil
}

// planOptions returns what the run takes by its flags.
func (c *finetune) planOptions() (plan.Options, error) {
	o := plan.Options{
		Method: c.method, LoRA: c.lora, F32: c.weights == weightsF32, Quantize: c.quant.to, Block: c.quant.block, Double: c.quant.double,
		Batch: c.loader.Batch, Accumulate: c.loader.Accumulate, Seq: c.seq, Recompute: c.options.Recompute, Optimizer: c.budget.optim,
	}
	var err error
	switch {
	case c.method != "lora":
	case c.from != nil:
		o.LoRA, err = lora.ReadConfig(c.from.dir)
	case c.initAdapter != "":
		o.LoRA, err = lora.ReadConfig(c.initAdapter)
	}
	return o, err
}

// refuse plans the run and refuses one that cannot fit, before weights are read or
// anything is written.
func (c *finetune) refuse(e *env) (err error) {
	b := &c.budget
	if b.limit == 0 {
		b.limit = machine.Available()
	}
	if b.options, err = c.planOptions(); err != nil {
		return err
	}
	if b.model, err = outlined(c.model, &b.options); err != nil {
		return err
	}
	if b.plan, err = plan.New(b.model, b.options); err != nil {
		return fmt.Errorf("%s: %w", c.model, err)
	}
	limit := b.limit
	if b.optim == paged { // whose moments can do with little
		limit += max(0, b.plan.Optimizer-train.LeastPaged)
	}
	if b.limit == 0 || b.plan.Total <= limit {
		return nil
	}
	printMemory(e.stderr, b.plan, b.options)
	most, err := plan.LargestBatch(b.model, b.options, limit)
	if err != nil {
		return err
	}
	what := "this machine has %s available"
	if b.memory != "" {
		what = "--memory is %s"
	}
	does := fmt.Sprintf("the largest --batch that fits is %d", most)
	if most == 0 {
		does = "no --batch fits; --recompute and a lower --seq take less"
	}
	return fmt.Errorf("%s: the run takes %s, "+what+": %s", c.model, gigabytes(b.plan.Total), gigabytes(b.limit), does)
}

// paged is the optimizer whose moments are in a file.
const paged = "paged_adamw"

// newOptimizer returns the optimizer that --optim names. Paged moments have the memory
// that the rest of the run leaves.
func (c *finetune) newOptimizer(params []train.Param) (*train.AdamW, error) {
	b := &c.budget
	has := machine.Resident() // with the weights loaded
	b.besides = max(0, has.Anon+has.File-b.plan.Weights.Bytes-b.plan.Adapter)
	switch b.optim {
	case "adamw8bit":
		return train.NewAdamW8bit(params, c.options.WeightDecay)
	case paged:
		room := int64(math.MaxInt64)
		if b.limit > 0 {
			room = max(train.LeastPaged, b.limit-(b.plan.Total-b.plan.Optimizer)-b.besides)
		}
		return train.NewPagedAdamW(params, c.options.WeightDecay, filepath.Dir(c.dir.final), room)
	}
	return train.NewAdamW(params, c.options.WeightDecay), nil
}

// compared is what the run was planned to take and what it took.
type compared struct {
	Planned  int64 `json:"planned_bytes"`             // of batches as long as --seq
	Longest  int64 `json:"planned_for_longest_bytes"` // of batches as long as the longest line
	Besides  int64 `json:"besides_bytes"`             // what the process had besides before the first step: tokenizer, runtime, code
	Measured int64 `json:"measured_bytes"`            // the most that was resident at once
}

// compare measures, at the end, what was planned.
func (c *finetune) compare() (compared, error) {
	b := &c.budget
	longest := 0
	for i := range c.loader.Examples {
		longest = max(longest, len(c.loader.Examples[i].IDs))
	}
	z := compared{Planned: b.plan.Total, Longest: b.plan.Total, Besides: b.besides, Measured: machine.Resident().Peak}
	if longest < b.options.Seq && !c.pack {
		b.options.Seq = longest
		p, err := plan.New(b.model, b.options)
		if err != nil {
			return z, err
		}
		z.Longest = p.Total
	}
	return z, nil
}

// String says it in a line.
func (z compared) String() string {
	s := fmt.Sprintf("memory: %s planned", gigabytes(z.Planned))
	if z.Longest != z.Planned {
		s += fmt.Sprintf(", %s for lines as long as these", gigabytes(z.Longest))
	}
	return s + fmt.Sprintf(", %s besides for the process; %s measured", gigabytes(z.Besides), gigabytes(z.Measured))
}
