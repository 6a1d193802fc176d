package tensor

import (
	"math"

	"github.com/tenon-ml/tenon/asm"
)

func (c *CPU) crossEntropy(loss, logits *Tensor, labels []int32, scale float64, grad bool) {
	n := logits.Dim(-1)
	l, x := loss.F32(), logits.F32()
	c.rows(len(l), n, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			l[i] = crossEntropyRow(x[i*n:(i+1)*n], labels[i], float32(scale), grad)
		}
	})
}

// crossEntropyRow returns scale·(log Σ exp(x) - x[label]) and turns x into
// scale·(softmax(x) - onehot(label)) if grad.
func crossEntropyRow(x []float32, label int32, scale float32, grad bool) float32 {
	if label < 0 {
		if grad {
			clear(x)
		}
		return 0
	}
	m, at := asm.Max(x), x[label]
	var sum float64
	if grad {
		sum = float64(asm.ExpSubSum(x, x, m))
		asm.Scale(x, x, float32(float64(scale)/sum))
		x[label] -= scale
	} else {
		var tmp [1024]float32
		for lo := 0; lo < len(x); lo += len(tmp) {
			hi := min(lo+len(tmp), len(x))
			sum += float64(asm.ExpSubSum(tmp[:hi-lo], x[lo:hi], m))
		}
	}
	return scale * float32(math.Log(sum)+float64(m)-float64(at))
}
