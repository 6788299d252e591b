package webhook

import (
	"encoding/json"
	"slices"
	"time"
)

// position is how far a hook is, as the log's file has it.
type position struct {
	Read    uint64   `json:"read"`              // all events up to this one are done, except those that wait
	Waiting []uint64 `json:"waiting,omitempty"` // differences between their numbers, in order
	Gone    string   `json:"gone,omitempty"`    // the URL whose receiver wants no events
	Off     string   `json:"off,omitempty"`     // why the hook is disabled otherwise
}

// gone is why a hook is disabled whose receiver has said so.
var gone = "its receiver says 410 Gone"

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

// pack puts numbers in order, and the differences between them in their place.
func pack(numbers []uint64) {
	slices.Sort(numbers)
	last := uint64(0)
	for i, n := range numbers {
		numbers[i], last = n-last, n
	}
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

// begin reads the position. A new hook begins behind the newest event.
func (d *delivery) begin() error {
	_, d.resume = d.sender.log.Bounds()
	data, err := d.sender.log.Get(positions, d.id)
	if err != nil {
		return err
	}
	var p position
	if data == nil {
		p.Read = d.resume
		return d.sender.log.Put(positions, d.id, p.encode())
	}
	if err := json.Unmarshal(data, &p); err != nil {
		d.log.Error("could not read the state of a webhook; it begins with the newest event", "err", err)
		p = position{Read: d.resume}
	}
	d.resume, d.old = p.Read, unpack(p.Waiting)
	switch {
	case p.Gone != "" && p.Gone == d.target.hook.URL:
		d.off.Store(&gone)
	case p.Off != "":
		d.off.Store(&p.Off)
	}
	return nil
}

// rewind sets where reading begins.
func (d *delivery) rewind() {
	d.read = d.resume
	for seq := range d.old {
		d.read = min(d.read, seq-1)
	}
	if d.target.hook.Format == Zammad {
		d.calls = &calls{users: d.target.hook.Users}
		if first, _ := d.sender.log.Bounds(); first <= d.read+1 {
			d.read = max(d.read-min(d.read, callsBefore), first-1)
		}
	}
}

// save writes the position if that is due.
func (d *delivery) save(now bool) {
	since := time.Since(d.saved)
	if !now && (!d.dirty || since < savedOften && d.waiting > 0) && (!d.moved || since < savedRarely) {
		return
	}
	p := position{Read: max(d.read, d.resume)}
	for seq := range d.old {
		p.Waiting = append(p.Waiting, seq)
	}
	for _, r := range d.rows {
		for _, i := range r.items {
			p.Waiting = append(p.Waiting, i.seq)
		}
	}
	pack(p.Waiting)
	switch off := d.off.Load(); off {
	case nil:
	case &gone:
		p.Gone = d.target.hook.URL
	default:
		p.Off = *off
	}
	if err := d.sender.log.Put(positions, d.id, p.encode()); err != nil {
		d.log.Error("could not store the state of a webhook", "err", err)
		d.saved = time.Now()
		return
	}
	d.dirty, d.moved, d.saved = false, false, time.Now()
}
