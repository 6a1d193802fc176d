package train_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/tenon-ml/tenon/train"
)

// Data that is tokenised already needs no tokenizer.
func ExampleRead() {
	data := `{"input_ids": [5, 6, 7, 8]}
{"input_ids": [9, 10], "labels": [-100, 10]}`
	examples, err := train.Read(strings.NewReader(data), "data.jsonl", train.ReadOptions{Vocab: 100, Seq: 3})
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range examples {
		fmt.Println(e.IDs, e.Labels, e.Targets())
	}
	// Output:
	// [5 6 7] [5 6 7] 2
	// [9 10] [-100 10] 1
}

// Five examples in batches of two, two batches a step: an epoch ends with a step
// of one short batch.
func ExampleLoader() {
	var examples []train.Example
	for i := range int32(5) {
		examples = append(examples, train.Example{IDs: []int32{i, i}, Labels: []int32{i, i}, Line: int(i) + 1})
	}
	loader := train.Loader{Examples: examples, Batch: 2, Accumulate: 2}
	for step := range loader.Steps(3) {
		fmt.Print("step ", step.Number, ":")
		for _, b := range step.Batches {
			fmt.Print(" ", b.Lines)
		}
		fmt.Println()
	}
	// Output:
	// step 1: [1 2] [3 4]
	// step 2: [5]
	// step 3: [1 2] [3 4]
}

func ExampleSchedule_Factor() {
	for step := range 6 {
		fmt.Print(train.Linear.Factor(step, 2, 6), " ")
	}
	// Output: 0 0.5 1 0.75 0.5 0.25
}
