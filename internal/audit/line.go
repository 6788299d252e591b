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

// Entry is one line. Number, Before and Hash are filled in when it is written.
type Entry struct {
	Number       int64     `json:"number"`
	Time         time.Time `json:"time"` // zero: when it is noted
	Kind         string    `json:"kind"` // opened, identified, closed, refused, asked, done, unlocked; of the log itself: gap, others, stopped
	Who          string    `json:"who,omitempty"`
	How          string    `json:"how,omitempty"`
	Front        string    `json:"front,omitempty"`
	Peer         string    `json:"peer,omitempty"`
	Session      string    `json:"session,omitempty"` // correlates
	Service      string    `json:"service,omitempty"`
	Devices      []string  `json:"devices,omitempty"`
	Destinations []string  `json:"destinations,omitempty"`
	Connections  []string  `json:"connections,omitempty"` // callID@device
	Outcome      string    `json:"outcome,omitempty"`     // ok, or the error
	Reason       string    `json:"reason,omitempty"`
	Count        int64     `json:"count,omitempty"` // of a gap: entries that are missing; else entries like this one that are not written
	Before       string    `json:"before"`          // the hash of the line before
	Hash         string    `json:"hash,omitempty"`  // the last member: seal adds it

	asked  bool // what it tells is not done unless it is written
	weight int  // what it takes in memory while it waits
}

// seal gives an entry its hash, and appends its line.
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

// texts are the texts of an entry.
func (e *Entry) texts() []*string {
	return []*string{&e.Kind, &e.Who, &e.How, &e.Front, &e.Peer, &e.Session, &e.Service, &e.Outcome, &e.Reason}
}

// lists are its lists of texts.
func (e *Entry) lists() []*[]string { return []*[]string{&e.Devices, &e.Destinations, &e.Connections} }

// encodable replaces octets that are no UTF-8 by U+FFFD, as JSON does: in the line that is read
// they are that, and its hash must be that of what is read.
func (e *Entry) encodable() {
	valid := func(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
	for _, text := range e.texts() {
		*text = valid(*text)
	}
	for _, list := range e.lists() {
		*list = slices.Clone(*list) // which is not ours
		for i, text := range *list {
			(*list)[i] = valid(text)
		}
	}
}

// clip cuts an entry down to what somebody may fill the file with who has not said who it is.
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

// size is about what an entry takes in memory.
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
