package events

import (
	"bytes"
	"encoding/json"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// spell returns a device as the subscriber writes it.
func (s *Subscription) spell(device string) string {
	if written, ok := s.want.Spelled[device]; ok {
		return written
	}
	return device
}

func (s *Subscription) spellCalls(calls []Call) []Call {
	if len(s.want.Spelled) == 0 {
		return calls
	}
	for i := range calls {
		c := &calls[i]
		c.Caller, c.Called, c.LastRedirection = s.spell(c.Caller), s.spell(c.Called), s.spell(c.LastRedirection)
		for j := range c.Parties {
			c.Parties[j].Number = s.spell(c.Parties[j].Number)
		}
	}
	return calls
}

// written returns the data of an event with the devices as the subscriber writes them.
func (s *Subscription) written(e eventlog.Entry) []byte {
	if e.Device == "" || !s.spelledIn(e.Data) {
		return e.Data
	}
	if e.Kind == Snapshot {
		var c Calls
		if json.Unmarshal(e.Data, &c) != nil {
			return e.Data
		}
		c.Device, c.Calls = s.spell(c.Device), s.spellCalls(c.Calls)
		return encode(c)
	}
	var h Happening
	if json.Unmarshal(e.Data, &h) != nil {
		return e.Data
	}
	h.Device, h.Caller, h.Called = s.spell(h.Device), s.spell(h.Caller), s.spell(h.Called)
	if m, err := uacsta.ParseJSON(h.CSTA); err == nil {
		for _, d := range m.Devices() {
			if written, ok := s.want.Spelled[d.ID()]; ok {
				d.Set(policy.Element(written))
			}
		}
		h.CSTA, _ = m.MarshalJSON()
	}
	return encode(h)
}

// spelledIn reports whether data may have a device that the subscriber writes in another way.
func (s *Subscription) spelledIn(data []byte) bool {
	for device := range s.want.Spelled {
		if bytes.Contains(data, []byte(device)) {
			return true
		}
	}
	return false
}

// linkOf returns the link in an event's data.
func linkOf(data []byte) string {
	var e struct {
		Link string `json:"link"`
	}
	_ = json.Unmarshal(data, &e)
	return e.Link
}
