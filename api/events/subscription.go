package events

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
	"github.com/tr87proxy/tr87proxy/policy"
)

// Wish is what a subscriber asks for.
type Wish struct {
	Who      string            // the client, whose share of the patterns is limited; "": the configuration
	Devices  []string          // canonical numbers; the subscriber may observe them
	Patterns []string          // of devices; it gets events of those that it may observe
	Spelled  map[string]string // how it writes devices, by canonical number, where that differs
	Types    []string          // of events; none: all
	Link     string            // "": all
	After    *uint64           // the number of the last event that it has; nil: it begins now
	Snapshot bool              // it begins with the calls that there are. With After, only if events are missing
	// May reports whether it may observe a device. It is called before each delivery.
	May func(device string) bool
	// Wake is called when there is something to read, after Next returned nothing. It must not block.
	Wake func()
}

// Event is an event as a subscriber gets it.
type Event struct {
	Seq  uint64
	Type string
	Data []byte // JSON; not to be changed
}

// Subscription is a stream of events, from [Recorder.Subscribe]. Next is called by one goroutine at a time.
type Subscription struct {
	recorder *Recorder
	want     Wish
	devices  map[string]bool // of want; nil: they are few
	release  func()

	// of the goroutine that calls Next
	at     uint64  // the last event that was read from the log or handed over
	first  []Event // to be delivered before all others
	caught bool    // new events come to waiting

	from uint64 // new events are those after this; guarded by the hub

	mu      sync.Mutex
	waiting []eventlog.Entry
	octets  int
	slow    bool
	closed  bool
	asleep  bool // Next has returned nothing since the last Wake
}

// The room of a subscription that has caught up.
const (
	maxWaiting       = 2000
	maxWaitingOctets = 4 << 20
	settleTime       = 5 * time.Second // that a subscription waits for monitors to start
)

// Subscribe prepares a stream and begins it.
func (r *Recorder) Subscribe(ctx context.Context, want Wish) (*Subscription, error) {
	s, err := r.Prepare(ctx, want)
	if err != nil {
		return nil, err
	}
	if err := s.Begin(ctx, want.After); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Prepare has the wanted devices recorded, and waits a few seconds for the switch to accept their monitors. Begin begins
// the stream; Close ends it in any case. The error is ErrFull or ErrClosed, or of ctx.
func (r *Recorder) Prepare(ctx context.Context, want Wish) (*Subscription, error) {
	settled, release, err := r.want(ctx, want.Who, want.Devices, want.Patterns)
	if err != nil {
		return nil, err
	}
	wait := time.NewTimer(settleTime)
	defer wait.Stop()
	select {
	case <-settled:
	case <-wait.C:
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
	s := &Subscription{recorder: r, want: want, release: release, asleep: true}
	if len(want.Devices) > fewDevices {
		s.devices = map[string]bool{}
		for _, device := range want.Devices {
			s.devices[device] = true
		}
	}
	r.hub.open.Add(1)
	return s, nil
}

// Begin begins the stream after an event, or, with nil, now. The first event is [Ready], or [Gap] if events are missing.
// The error is ErrClosed, or of ctx.
func (s *Subscription) Begin(ctx context.Context, after *uint64) error {
	from, gone := after, uint64(0) // the last event that is gone
	if from != nil {
		s.at = *from
		if first, last := s.recorder.cfg.Events.Bounds(); *from != 0 && (*from > last || *from+1 < first) {
			gone = first - 1
		}
		if gone > 0 && s.want.Snapshot {
			from = nil
		}
	}
	var pictures []picture
	var waiting []string
	now, err := s.recorder.picture(ctx, func(w *watch) {
		if !s.matches(w.device) {
			return
		}
		if w.state != live && s.names(w.device) {
			waiting = append(waiting, s.spell(w.device))
		}
		if s.want.Snapshot && from == nil && len(w.calls) > 0 {
			pictures = append(pictures, picture{w.device, w.link, w.list()})
		}
	})
	if err != nil {
		return err
	}
	if from == nil {
		s.at = now
		gone = min(gone, 1) * now // the snapshot stands for all events before it
	}
	if gone > 0 {
		s.first = append(s.first, s.missing(*after+1, gone))
		s.at = gone
	}
	slices.Sort(waiting)
	devices := append([]string{}, s.want.Patterns...)
	for _, device := range s.want.Devices {
		devices = append(devices, s.spell(device))
	}
	s.first = append(s.first, s.own(Ready, func(h Head) any { return Beginning{h, devices, waiting} }))
	for _, p := range pictures {
		if s.want.May(p.device) {
			s.first = append(s.first, s.own(Snapshot, func(h Head) any { return Calls{h, s.spell(p.device), p.link, s.spellCalls(p.calls)} }))
		}
	}
	return nil
}

// picture is the calls of a device at one moment.
type picture struct {
	device, link string
	calls        []Call
}

// picture calls f with each watch, and returns the number of the last event that the books have.
func (r *Recorder) picture(ctx context.Context, f func(*watch)) (at uint64, err error) {
	number := make(chan uint64, 1)
	var failed error
	if err := r.do(ctx, func() {
		for _, w := range r.watches {
			f(w)
		}
		failed = r.cfg.Events.Append(nil, func(next uint64, _ error) { number <- next - 1 })
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	select {
	case at = <-number:
		return at, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// CallsOf returns the calls of a device, by its canonical number, if it is watched and its book is complete.
func (r *Recorder) CallsOf(ctx context.Context, device string) (calls []Call, ok bool) {
	err := r.do(ctx, func() {
		if w := r.watches[device]; w != nil && w.state == live {
			calls, ok = w.list(), true
		}
	})
	return calls, ok && err == nil
}

// Next returns the next events, at most so many, that the subscriber may get at this moment. If it returns none, the
// subscriber waits for Wake. The error is ErrSlow or ErrClosed.
func (s *Subscription) Next(most int) ([]Event, error) {
	for {
		if n := min(most, len(s.first)); n > 0 {
			events := s.first[:n:n]
			if s.first = s.first[n:]; len(s.first) == 0 {
				s.first = nil
			}
			return events, nil
		}
		events, more, err := s.next(most)
		if err != nil || len(events) > 0 || !more {
			return events, err
		}
	}
}

// next returns events; none and more if there may be others.
func (s *Subscription) next(most int) (events []Event, more bool, err error) {
	if s.caught {
		return s.take(most)
	}
	entries, gap, err := s.recorder.cfg.Events.Read(s.at, readAtOnce)
	switch {
	case err != nil:
		return nil, false, ErrClosed
	case len(entries) > 0:
		if gap && s.at != 0 {
			events = append(events, s.missing(s.at+1, entries[0].Seq-1))
		}
		for _, e := range entries {
			s.at = e.Seq
			if s.wants(e) {
				events = s.appendEvent(events, e)
			}
			if len(events) >= most {
				break
			}
		}
		return events, true, nil
	case gap:
		first, _ := s.recorder.cfg.Events.Bounds()
		events = append(events, s.missing(s.at+1, first-1))
		s.at = first - 1
		return events, true, nil
	}
	s.caught = s.recorder.hub.caughtUp(s)
	return nil, true, nil
}

// take returns events that were handed over.
func (s *Subscription) take(most int) (events []Event, more bool, err error) {
	s.mu.Lock()
	entries := s.waiting
	if len(entries) > most {
		entries = entries[:most]
		s.waiting = s.waiting[most:]
		for _, e := range entries {
			s.octets -= len(e.Data)
		}
	} else {
		s.waiting, s.octets = nil, 0
	}
	switch {
	case s.slow:
		err = ErrSlow
	case s.closed || s.recorder.hub.over.Load():
		err = ErrClosed
	default:
		s.asleep = len(entries) == 0
	}
	s.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		if e.Kind == lack {
			events = append(events, s.missing(s.at+1, e.Seq))
		} else {
			events = s.appendEvent(events, e)
		}
		s.at = e.Seq
	}
	return events, len(entries) > 0, nil
}

// lack is the kind of an entry that stands for those that are missing up to its number.
const lack = "lack"

// offer hands an event over, and reports whether the subscriber must be woken.
func (s *Subscription) offer(e eventlog.Entry) bool {
	return e.Seq > s.from && s.wants(e) && s.put(e)
}

// lacks hands over that events up to a number are missing.
func (s *Subscription) lacks(to uint64) { s.put(eventlog.Entry{Seq: to, Kind: lack}) }

func (s *Subscription) put(e eventlog.Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow || s.closed {
		return false
	}
	if len(s.waiting) >= maxWaiting || s.octets+len(e.Data) > maxWaitingOctets && len(s.waiting) > 0 {
		s.slow, s.waiting = true, nil
	} else {
		s.waiting = append(s.waiting, e)
		s.octets += len(e.Data)
	}
	woken := s.asleep
	s.asleep = false
	return woken
}

// wants reports whether the subscriber asked for an event.
func (s *Subscription) wants(e eventlog.Entry) bool {
	if e.Kind == Gap {
		return true
	}
	return s.matches(e.Device) && (len(s.want.Types) == 0 || slices.Contains(s.want.Types, e.Kind)) && (s.want.Link == "" || linkOf(e.Data) == s.want.Link)
}

// fewDevices are searched one by one: a map would take more memory.
const fewDevices = 8

// names reports whether the subscriber asks for a device by its number.
func (s *Subscription) names(device string) bool {
	if s.devices == nil {
		return slices.Contains(s.want.Devices, device)
	}
	return s.devices[device]
}

func (s *Subscription) matches(device string) bool {
	return device == "" || s.names(device) || len(s.want.Patterns) > 0 && policy.MatchDevice(s.want.Patterns, device)
}

// appendEvent appends an event, if the subscriber may get it.
func (s *Subscription) appendEvent(events []Event, e eventlog.Entry) []Event {
	if e.Device != "" && !s.want.May(e.Device) {
		return events
	}
	return append(events, Event{Seq: e.Seq, Type: e.Kind, Data: s.written(e)})
}

// own makes an event that is not in the log.
func (s *Subscription) own(kind string, event func(Head) any) Event {
	h := Head{ID: strconv.FormatUint(s.at, 10), Seq: s.at, Time: stamp(time.Now()), Type: kind}
	return Event{Seq: s.at, Type: kind, Data: encode(event(h))}
}

func (s *Subscription) missing(from, to uint64) Event {
	m := Missing{Head: Head{ID: strconv.FormatUint(to, 10), Seq: to, Time: stamp(time.Now()), Type: Gap}, Reason: "these events are not kept any more"}
	if from <= to {
		m.From, m.To = strconv.FormatUint(from, 10), m.ID
	}
	return Event{Seq: to, Type: Gap, Data: encode(m)}
}

// Heartbeat returns a heartbeat. Its number is the last one before the next event, so a stream can resume after it.
func (s *Subscription) Heartbeat() Event {
	s.recorder.hub.advance(s)
	return s.own(Heartbeat, func(h Head) any { return Sign{Head: h} })
}

// Slow returns the last event of a stream that ended with ErrSlow.
func (s *Subscription) Slow() Event {
	return s.own(Slow, func(h Head) any { return Sign{h, ErrSlow.Error()} })
}

// At returns the number after which the stream goes on.
func (s *Subscription) At() uint64 { return s.at }

// Close ends the stream. Wake may be called once more.
func (s *Subscription) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed, s.waiting = true, nil
	s.mu.Unlock()
	if closed {
		return
	}
	s.recorder.hub.leave(s)
	s.recorder.hub.open.Add(-1)
	s.release()
}
