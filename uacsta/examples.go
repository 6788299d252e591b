package uacsta

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed examples.txt
var examplesText string

// examples are the messages of examples.txt by name.
var examples = sync.OnceValue(func() map[string]*Message {
	found := map[string]*Message{}
	for line := range strings.Lines(examplesText) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		m, err := ParseJSON([]byte(line))
		if err != nil {
			panic("uacsta: examples.txt: " + err.Error())
		}
		found[m.Name()] = m
	}
	return found
})

// Example returns an example of a message, of edition 6 and with plausible values: device 101 calls
// 102. It returns nil if there is none of that name. There is one for each request and response.
func Example(name string) *Message {
	if m := examples()[name]; m != nil {
		return m.Clone()
	}
	if v := New(name); v != nil && !strings.HasSuffix(name, "Event") {
		return Encode(v, Edition6)
	}
	return nil
}
