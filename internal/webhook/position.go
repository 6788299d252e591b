package webhook

import (
	"encoding/json"
	"slices"
)

// position is how far a hook is, as the log's file has it.
type position struct {
	Read    uint64   `json:"read"`              // all events up to this one are done, except those that wait
	Waiting []uint64 `json:"waiting,omitempty"` // differences between their numbers, in order
	Gone    string   `json:"gone,omitempty"`    // the URL whose receiver wants no events
}

// The buckets of the log's file.
const (
	positions = "webhook.positions" // by hook
	ownHooks  = "webhook.hooks"     // hooks made at run time
	about     = "webhook"           // about all of them
	dead      = "webhook.dead."     // and a hook: its dead letters by number
)

func (p *position) encode() []byte {
	data, _ := json.Marshal(p) // has only numbers and texts
	return data
}

// pack returns the differences between numbers.
func pack(numbers []uint64) []uint64 {
	slices.Sort(numbers)
	last := uint64(0)
	for i, n := range numbers {
		numbers[i], last = n-last, n
	}
	return numbers
}

// unpack returns the numbers that pack was given.
func unpack(differences []uint64) map[uint64]bool {
	numbers := map[uint64]bool{}
	last := uint64(0)
	for _, d := range differences {
		last += d
		numbers[last] = true
	}
	return numbers
}
