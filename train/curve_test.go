package train_test

import (
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/tensor"
)

const testdata = "../testdata"

// TestCurves trains as transformers' Trainer and PEFT did, from the same
// beginning on the same batches, and compares every loss and every weight.
// PyTorch differs from itself, with another attention kernel or in F64, by up to
// 3e-6 on these models.
func TestCurves(t *testing.T) {
	cases, err := filepath.Glob(testdata + "/train*/*/case.json")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			dev := tensor.NewCPU(2)
			defer dev.Close()
			c := curve.Read(t, dir)
			c.Check(t, dev, curve.LoadModel(t, filepath.Join(testdata, c.Base), dev), curve.Limits{Loss: 1e-5, Norm: 1e-4, Median: 5e-5, Worst: 1e-3})
		})
	}
}
