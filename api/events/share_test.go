package events

import (
	"errors"
	"fmt"
	"testing"
)

// A client cannot take all room for patterns, and patterns that nobody wants any more make room.
func TestPatternShares(t *testing.T) {
	w := newWorld(t, "")
	made := 0
	want := func(who string, n int) (func(), error) {
		var texts []string
		for range n {
			made++
			texts = append(texts, fmt.Sprintf("9%05d*", made))
		}
		return w.recorder.Want(t.Context(), who, nil, texts)
	}
	if _, err := want("alice", MostPatterns+1); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	release, err := want("alice", MostPatterns)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = want("alice", 1); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	for n := range 8 { // more than there is room for, one after the other
		release()
		if release, err = want("alice", MostPatterns); err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err = want("bob", 1); err != nil {
		t.Error(err)
	}
	for n := range 2 * MostPatterns { // many streams of one pattern are one share
		if _, err := w.recorder.Want(t.Context(), "carol", nil, []string{"*"}); err != nil {
			t.Fatal(n, err)
		}
	}
}
