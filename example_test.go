package tenon_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tenon-ml/tenon"
	"github.com/tenon-ml/tenon/format/chat"
)

// A model answers a message, piece by piece. This one is tiny and its weights are
// random, so what it says means nothing.
func Example() {
	m, err := tenon.Load("testdata/llama/chat", tenon.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	r := tenon.Request{Messages: []chat.Message{{Role: "user", Content: "hello"}}, MaxTokens: 8}
	pieces := 0
	g, err := m.Generate(context.Background(), r, func(string) error {
		pieces++
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(g.IDs), pieces > 1)
	// Output: 8 true
}
