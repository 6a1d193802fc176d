// Command gopeers computes F32 matrix products by other systems in pure Go: gonum and
// gomlx's Go backend. It is a module of its own, so that tenon does not pay for them.
// bench/compare runs it and speaks with it as bench/peers/serve.py says.
//
//	cd bench/peers/gopeers && go build -o /tmp/gopeers . && GOMAXPROCS=2 /tmp/gopeers gonum
//	{"op": "matmulT", "m": 512, "n": 16, "k": 576, "reps": 10}
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"time"

	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// A request is a product: "matmul" x·y, "matmulT" x·yᵀ, "matmulTA" xᵀ·y.
type request struct {
	Op      string
	M, N, K int
	Reps    int
}

// peers return a function that computes a product, ready to be measured.
var peers = map[string]struct {
	module  string
	product func(q request) func() error
}{
	"gonum": {"gonum.org/v1/gonum", gonum},
	"gomlx": {"github.com/gomlx/gomlx", gomlx},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gopeers: ")
	if len(os.Args) != 2 || peers[os.Args[1]].product == nil {
		log.Fatal("want gonum or gomlx")
	}
	name := os.Args[1]
	peer := peers[name]
	out := json.NewEncoder(os.Stdout)
	say := func(v any) {
		if err := out.Encode(v); err != nil {
			log.Fatal(err)
		}
	}
	say(map[string]string{"peer": name, "version": version(peer.module)})
	var last request
	var run func() error
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var q request
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			say(map[string]string{"error": err.Error()})
			continue
		}
		reps := max(1, q.Reps)
		q.Reps = 0
		seconds, err := func() (seconds float64, err error) {
			defer func() { // gomlx panics with errors
				if p := recover(); p != nil {
					err = fmt.Errorf("%v", p)
				}
			}()
			if q != last {
				last, run = q, peer.product(q)
				if err := run(); err != nil {
					return 0, err
				}
			}
			start := time.Now()
			for range reps {
				if err := run(); err != nil {
					return 0, err
				}
			}
			return time.Since(start).Seconds() / float64(reps), nil
		}()
		if err != nil {
			say(map[string]string{"error": err.Error()})
			continue
		}
		say(map[string]float64{"seconds": seconds})
	}
}

// version returns the version of a module that this program was built with.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "unknown"
}

// operands returns the rows and columns of x and y as they are stored, and contents.
func operands(q request) (x, y []float32, xs, ys [2]int) {
	xs, ys = [2]int{q.M, q.K}, [2]int{q.K, q.N}
	if q.Op == "matmulTA" {
		xs = [2]int{q.K, q.M}
	}
	if q.Op == "matmulT" {
		ys = [2]int{q.N, q.K}
	}
	r := rand.New(rand.NewPCG(1, 1))
	fill := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = r.Float32()*2 - 1
		}
		return v
	}
	return fill(q.M * q.K), fill(q.K * q.N), xs, ys
}

func gonum(q request) func() error {
	x, y, xs, ys := operands(q)
	general := func(v []float32, shape [2]int) blas32.General {
		return blas32.General{Rows: shape[0], Cols: shape[1], Stride: shape[1], Data: v}
	}
	tx, ty := blas.NoTrans, blas.NoTrans
	if q.Op == "matmulTA" {
		tx = blas.Trans
	}
	if q.Op == "matmulT" {
		ty = blas.Trans
	}
	a, b, c := general(x, xs), general(y, ys), general(make([]float32, q.M*q.N), [2]int{q.M, q.N})
	return func() error {
		blas32.Gemm(tx, ty, 1, a, b, 0, c)
		return nil
	}
}

func gomlx(q request) func() error {
	x, y, xs, ys := operands(q)
	backend, err := simplego.New("")
	if err != nil {
		return func() error { return err }
	}
	equation := map[string]string{"matmul": "mk,kn->mn", "matmulT": "mk,nk->mn", "matmulTA": "km,kn->mn"}[q.Op]
	exec, err := graph.NewExec(backend, func(a, b *graph.Node) *graph.Node { return graph.Einsum(equation, a, b) })
	if err != nil {
		return func() error { return err }
	}
	a, b := tensors.FromFlatDataAndDimensions(x, xs[0], xs[1]), tensors.FromFlatDataAndDimensions(y, ys[0], ys[1])
	return func() error {
		out, err := exec.Exec(a, b)
		if err != nil {
			return err
		}
		for _, t := range out {
			if err := t.FinalizeAll(); err != nil {
				return err
			}
		}
		return nil
	}
}
