package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"slices"
	"strings"
	"time"
)

// Entry is one line of the audit log. The log sets Number, Before and Hash.
type Entry struct {
	Number       int64     `json:"number"`
	Time         time.Time `json:"time"` // zero: set when added
	Kind         string    `json:"kind"` // opened, identified, closed, refused, asked, done, unlocked; from the log itself: gap, others, stopped
	Who          string    `json:"who,omitempty"`
	How          string    `json:"how,omitempty"`
	Front        string    `json:"front,omitempty"`
	Peer         string    `json:"peer,omitempty"`
	Session      string    `json:"session,omitempty"` // correlates the entries of a session
	Service      string    `json:"service,omitempty"`
	Devices      []string  `json:"devices,omitempty"`
	Destinations []string  `json:"destinations,omitempty"`
	Connections  []string  `json:"connections,omitempty"` // in the form callID@device
	Outcome      string    `json:"outcome,omitempty"`     // "ok" or the error
	Reason       string    `json:"reason,omitempty"`
	Count        int64     `json:"count,omitempty"` // of a gap: missing entries; otherwise similar entries that were not written
	Before       string    `json:"before"`          // hash of the previous line
	Hash         string    `json:"hash,omitempty"`  // must be last: seal appends it

	asked  bool // the action happens only if this is written
	weight int  // size in memory while it waits
}

// seal sets the entry's hash and appends its line to lines.
func seal(lines, key []byte, e *Entry) ([]byte, error) {
	e.Hash = ""
	e.encodable()
	plain, err := json.Marshal(e)
	if err != nil {
		return lines, err
	}
	e.Hash = digest(key, plain)
	lines = append(append(lines, plain[:len(plain)-1]...), `,"hash":"`...)
	return append(append(lines, e.Hash...), "\"}\n"...), nil
}

// texts returns the entry's strings.
func (e *Entry) texts() []*string {
	return []*string{&e.Kind, &e.Who, &e.How, &e.Front, &e.Peer, &e.Session, &e.Service, &e.Outcome, &e.Reason}
}

// lists returns the entry's lists of strings.
func (e *Entry) lists() []*[]string { return []*[]string{&e.Devices, &e.Destinations, &e.Connections} }

// encodable replaces invalid UTF-8 with U+FFFD, as encoding/json does, so that the hash is over
// what a reader sees.
func (e *Entry) encodable() {
	valid := func(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
	for _, text := range e.texts() {
		*text = valid(*text)
	}
	for _, list := range e.lists() {
		*list = slices.Clone(*list) // do not modify the caller's slice
		for i, text := range *list {
			(*list)[i] = valid(text)
		}
	}
}

// clip shortens the entry to the maximum for strangers.
func (e *Entry) clip() {
	const octets, members = 256, 8
	for _, text := range e.texts() {
		*text = (*text)[:min(len(*text), octets)]
	}
	for _, list := range e.lists() {
		*list = slices.Clone((*list)[:min(len(*list), members)])
		for i, text := range *list {
			(*list)[i] = text[:min(len(text), octets)]
		}
	}
}

// size returns the approximate size of the entry in memory.
func (e *Entry) size() int {
	size := 512
	for _, text := range e.texts() {
		size += len(*text)
	}
	for _, list := range e.lists() {
		for _, text := range *list {
			size += len(text) + 16
		}
	}
	return size
}

func digest(key, plain []byte) string {
	var h hash.Hash
	if len(key) > 0 {
		h = hmac.New(sha256.New, key)
	} else {
		h = sha256.New()
	}
	h.Write(plain)
	return hex.EncodeToString(h.Sum(nil))
}
