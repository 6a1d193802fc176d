package plan

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/lora"
)

// goldens are what transformers and PEFT say (testdata/gen/plan.py).
func goldens(t *testing.T) map[string]golden {
	t.Helper()
	data, err := os.ReadFile("../testdata/plan/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Models map[string]golden }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Models) == 0 {
		t.Fatal("the golden is empty")
	}
	return file.Models
}

type golden struct {
	Config     json.RawMessage
	Parameters Parameters
	Cases      []struct {
		Method        string
		Trainable     int64
		Tensors       int
		File          int64
		Rank, Virtual int
		Targets, Save string
		Ranks         []string
	}
}

func TestGoldens(t *testing.T) {
	for name, g := range goldens(t) {
		m, err := ParseModel(g.Config)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := countParameters(m.structure()); got != g.Parameters {
			t.Errorf("%s: %+v, transformers has %+v", name, got, g.Parameters)
		}
		if got := byArithmetic(m.Config); got != g.Parameters {
			t.Errorf("%s: by arithmetic %+v, transformers has %+v", name, got, g.Parameters)
		}
		for _, c := range g.Cases {
			o := options(c.Method, c.Rank, c.Targets)
			o.Seq, o.VirtualTokens = 4, c.Virtual
			o.LoRA.Save = lora.ParseNames(c.Save).List
			for _, s := range c.Ranks {
				at := strings.LastIndexByte(s, '=')
				v, err := strconv.ParseFloat(s[at+1:], 64)
				if err != nil {
					t.Fatal(err)
				}
				o.LoRA.Ranks = append(o.LoRA.Ranks, lora.Pattern{Regex: s[:at], Value: v})
			}
			p, err := New(m, o)
			if err != nil {
				t.Errorf("%s: %+v: %v", name, c, err)
				continue
			}
			if p.Trainable.Parameters != c.Trainable || p.Trainable.Tensors != c.Tensors {
				t.Errorf("%s: %+v: %d parameters in %d tensors", name, c, p.Trainable.Parameters, p.Trainable.Tensors)
			}
			if math.Abs(float64(p.AdapterFile-c.File)) > 0.001*float64(c.File) {
				t.Errorf("%s: %+v: the file has %d bytes", name, c, p.AdapterFile)
			}
		}
	}
}
