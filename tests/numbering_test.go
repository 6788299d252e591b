package tests

import (
	"bytes"
	octets "encoding/binary"
	"regexp"
	"strconv"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numbering makes a switch that chooses its references at random, as ours does, one that numbers
// them, as others do: cross references from 1 in each connection, the lowest that no monitor has,
// and callIDs from 1 each time that the switch starts. What was one thing in the last life of a link
// is another in the next.
type numbering struct {
	mu       sync.Mutex
	calls    *names
	monitors map[int]string // of the connection that there is: the devices, by cross reference
}

// names are the switch's own, by number, and the other way round.
type names struct {
	number map[string]int
	own    map[int]string
}

func newNames() *names { return &names{map[string]int{}, map[int]string{}} }

// of returns the number of a name; one that is new gets the lowest free.
func (n *names) of(own string) int {
	if number, known := n.number[own]; known {
		return number
	}
	number := 1
	if len(n.own) > 0 {
		number = len(n.own) + 1
		for lower := range number {
			if lower > 0 && n.own[lower] == "" {
				number = lower
				break
			}
		}
	}
	n.number[own], n.own[number] = number, own
	return number
}

// free gives a number back.
func (n *names) free(own string) {
	delete(n.own, n.number[own])
	delete(n.number, own)
}

var (
	crossRefs   = regexp.MustCompile(`<monitorCrossRefID>([^<]*)</monitorCrossRefID>`)
	callNumbers = regexp.MustCompile(`<callID>([^<]*)</callID>`)
)

// anew says that the switch has started with no calls.
func (n *numbering) anew() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = newNames()
}

// passage is one connection.
func (n *numbering) passage() passage {
	refs := newNames()
	asked := map[string]string{} // by the number of a request: its device, or the switch's reference that it ends
	n.mu.Lock()
	n.monitors = map[int]string{}
	monitors := n.monitors
	n.mu.Unlock()
	return func(frame []byte, requests bool) []byte {
		id, document := string(frame[4:8]), frame[8:]
		name := ""
		if root := rootName.FindSubmatch(document); root != nil {
			name = string(root[1])
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if requests {
			document = put(document, crossRefs, func(number string) string { return named(refs, number) })
			document = put(document, callNumbers, func(number string) string { return named(n.calls, number) })
			switch name {
			case uacsta.NameMonitorStart:
				if m, err := uacsta.Parse(document); err == nil {
					asked[id] = m.Text("monitorObject/deviceObject")
				}
			case uacsta.NameMonitorStop:
				if m, err := uacsta.Parse(document); err == nil {
					asked[id] = m.CrossRef()
				}
			}
			return reframed(frame, document)
		}
		ended := ""
		switch name {
		case "MonitorStopResponse":
			ended = asked[id]
		case uacsta.NameMonitorStartResponse:
			if m, err := uacsta.Parse(document); err == nil {
				monitors[refs.of(m.CrossRef())] = asked[id]
			}
		}
		document = put(document, crossRefs, func(own string) string { return strconv.Itoa(refs.of(own)) })
		document = put(document, callNumbers, func(own string) string { return strconv.Itoa(n.calls.of(own)) })
		if ended != "" {
			delete(monitors, refs.number[ended])
			refs.free(ended)
		}
		if id != "9999" {
			delete(asked, id)
		}
		return reframed(frame, document)
	}
}

// watched returns how many monitors there are on each device.
func (n *numbering) watched() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	watched := map[string]int{}
	for _, device := range n.monitors {
		watched[device]++
	}
	return watched
}

// named returns the switch's own name; a number that has none stays.
func named(n *names, number string) string {
	if i, err := strconv.Atoi(number); err == nil && n.own[i] != "" {
		return n.own[i]
	}
	return number
}

// put puts something else for what elements have in them.
func put(document []byte, element *regexp.Regexp, other func(string) string) []byte {
	return element.ReplaceAllFunc(document, func(whole []byte) []byte {
		begin, end := bytes.IndexByte(whole, '>')+1, bytes.LastIndexByte(whole, '<')
		return append(append(append([]byte{}, whole[:begin]...), other(string(whole[begin:end]))...), whole[end:]...)
	})
}

// reframed puts another document into a frame.
func reframed(frame, document []byte) []byte {
	out := append(append(make([]byte, 0, 8+len(document)), frame[:8]...), document...)
	octets.BigEndian.PutUint16(out[2:4], uint16(len(out)))
	return out
}
