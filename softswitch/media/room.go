package media

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

const (
	maxBuffered = 6 * frame // samples of one telephone that wait to be mixed: 120 ms
	prefill     = 2 * frame // what is gathered before mixing begins
)

// Member is a leg in a room.
type Member struct {
	Leg    *Leg
	Silent bool // it only listens
}

// member is one with what it has said and was not mixed yet.
type member struct {
	Member
	buffer []int16
	flows  bool // enough was gathered
}

// Room is where legs hear each other. Two legs alone are joined packet by packet; more of
// them, or with something that plays or records, are mixed every 20 ms.
type Room struct {
	log        *slog.Logger
	mu         sync.Mutex
	members    []*member
	background Source // for whoever is there, while nobody else is heard
	plays      *Playing
	records    []*Taking
	running    bool
	closed     bool
	stop       chan struct{}
	group      sync.WaitGroup
}

// NewRoom opens a room.
func (e *Engine) NewRoom() *Room { return &Room{log: e.cfg.Log, stop: make(chan struct{})} }

// Set says who is in the room from now on, and what they hear besides each other: music,
// a tone, or nil. A leg is in one room at a time.
func (r *Room) Set(members []Member, background Source) {
	for _, m := range members {
		m.Leg.enter(r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.members
	r.members = nil
	for _, m := range members {
		i := slices.IndexFunc(old, func(o *member) bool { return o.Leg == m.Leg })
		if i < 0 {
			r.members = append(r.members, &member{Member: m})
			continue
		}
		old[i].Silent = m.Silent
		r.members = append(r.members, old[i])
	}
	r.background = background
	r.run()
}

// enter moves a leg into a room, out of the one where it was.
func (l *Leg) enter(r *Room) {
	l.mu.Lock()
	old := l.room
	l.room = r
	l.mu.Unlock()
	if old != nil && old != r {
		old.remove(l)
	}
}

func (r *Room) remove(l *Leg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.DeleteFunc(r.members, func(m *member) bool { return m.Leg == l })
}

// Close ends what plays and records, and the room.
func (r *Room) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	close(r.stop)
	for _, m := range r.members {
		m.Leg.leave(r)
	}
	plays, records := r.plays, r.records
	r.plays, r.records = nil, nil
	r.mu.Unlock()
	r.group.Wait()
	if plays != nil {
		plays.done(false)
	}
	for _, t := range records {
		t.finish(false)
	}
}

func (l *Leg) leave(r *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room == r {
		l.room = nil
	}
}

// others returns the legs beside one, if that one may speak.
func (r *Room) others(l *Leg) []*Leg {
	r.mu.Lock()
	defer r.mu.Unlock()
	var legs []*Leg
	for _, m := range r.members {
		if m.Leg != l {
			legs = append(legs, m.Leg)
		} else if m.Silent {
			return nil
		}
	}
	return legs
}

// mixes reports whether the room needs its clock. Callers hold r.mu.
func (r *Room) mixes() bool {
	switch {
	case r.plays != nil || len(r.records) > 0:
		return len(r.members) > 0
	case len(r.members) == 2:
		return r.members[0].Silent || r.members[1].Silent || r.background != nil
	}
	return len(r.members) > 2 || len(r.members) == 1 && r.background != nil
}

// voice takes a packet of a member.
func (r *Room) voice(l *Leg, p *rtp.Packet) {
	from := aLaw
	if p.PayloadType == muLaw.payload {
		from = muLaw
	}
	r.mu.Lock()
	var own, other *member
	for _, m := range r.members {
		if m.Leg == l {
			own = m
		} else {
			other = m
		}
	}
	if own == nil || own.Silent || !r.mixes() {
		alone := own != nil && !own.Silent && len(r.members) == 2
		r.mu.Unlock()
		if alone {
			other.Leg.pass(p, from)
		}
		return
	}
	own.buffer = append(own.buffer, from.samples(p.Payload)...)
	if over := len(own.buffer) - maxBuffered; over > 0 {
		own.buffer = own.buffer[over:]
	}
	r.mu.Unlock()
}

// run starts the clock where it is needed. Callers hold r.mu.
func (r *Room) run() {
	if r.running || r.closed || !r.mixes() {
		return
	}
	r.running = true
	r.group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
				if !r.mix() {
					return
				}
			}
		}
	})
}

// mix makes one frame for everybody; false when the clock is not needed any more. A panic costs that
// frame.
func (r *Room) mix() (more bool) {
	defer share.Survive(r.log, "mixing voice", func(error) { more = true })
	out, more := r.frame()
	for i, l := range out.legs {
		l.say(out.frames[i])
	}
	if out.finished != nil {
		r.told(func() { out.finished.done(true) })
	}
	for _, t := range out.full {
		r.told(func() { t.finish(true) })
	}
	return more
}

// told tells that something is over, on a goroutine that the room waits for: the clock calls it.
func (r *Room) told(tell func()) {
	r.group.Go(func() {
		defer share.Survive(r.log, "the end of a message or recording", nil)
		tell()
	})
}

// mixed is one frame for everybody, and what ends with it.
type mixed struct {
	legs     []*Leg
	frames   [][]int16
	finished *Playing
	full     []*Taking
}

// frame mixes one frame; false when the clock is not needed any more.
func (r *Room) frame() (out mixed, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mixes() {
		r.running = false
		return out, false
	}
	var sum [frame]int32
	heard := make([][]int16, len(r.members))
	for i, m := range r.members {
		if heard[i] = m.take(); heard[i] != nil {
			add(&sum, heard[i])
		}
	}
	var extra [frame]int32
	if r.plays != nil {
		if !r.plays.mix(&extra) {
			out.finished, r.plays = r.plays, nil
		}
	} else if r.background != nil {
		var samples [frame]int16
		r.background.next(samples[:])
		add(&extra, samples[:])
	}
	for i, m := range r.members {
		out.legs = append(out.legs, m.Leg)
		out.frames = append(out.frames, minus(&sum, &extra, heard[i]))
	}
	all := minus(&sum, &extra, nil)
	r.records = slices.DeleteFunc(r.records, func(t *Taking) bool {
		if t.take(all) {
			return false
		}
		out.full = append(out.full, t)
		return true
	})
	return out, true
}

// take returns a frame of what a member has said, nil when there is none.
func (m *member) take() []int16 {
	if !m.flows && len(m.buffer) < prefill || len(m.buffer) < frame {
		m.flows = false
		return nil
	}
	m.flows = true
	out := m.buffer[:frame:frame]
	m.buffer = m.buffer[frame:]
	return out
}

func add(sum *[frame]int32, samples []int16) {
	for i, s := range samples {
		sum[i] += int32(s)
	}
}

// minus is the sum without what one has said itself, cut to what a sample can be.
func minus(sum, extra *[frame]int32, own []int16) []int16 {
	out := make([]int16, frame)
	for i := range out {
		v := sum[i] + extra[i]
		if own != nil {
			v -= int32(own[i])
		}
		out[i] = int16(min(max(v, -32768), 32767))
	}
	return out
}

// Playing is a message that is being played in a room.
type Playing struct {
	room *Room
	from Source
	left int // samples; negative: to the end
	once sync.Once
	told func(complete bool)
}

// Play plays a message to everybody in the room, for a time or, with 0, to its end; one
// that is being played ends. told hears when it is over, and whether it was played whole.
func (r *Room) Play(from Source, limit time.Duration, told func(complete bool)) *Playing {
	p := &Playing{room: r, from: from, left: -1, told: told}
	if limit > 0 {
		p.left = int(limit * rate / time.Second)
	}
	r.mu.Lock()
	old := r.plays
	closed := r.closed
	if !closed {
		r.plays = p
		r.run()
	}
	r.mu.Unlock()
	if old != nil {
		old.done(false)
	}
	if closed {
		p.done(false)
	}
	return p
}

func (p *Playing) mix(into *[frame]int32) bool {
	var samples [frame]int16
	more := p.from.next(samples[:])
	add(into, samples[:])
	if p.left > 0 {
		if p.left -= frame; p.left <= 0 {
			return false
		}
	}
	return more
}

func (p *Playing) done(complete bool) { p.once.Do(func() { p.told(complete) }) }

// Stop ends it early.
func (p *Playing) Stop() {
	p.room.mu.Lock()
	if p.room.plays == p {
		p.room.plays = nil
	}
	p.room.mu.Unlock()
	p.done(false)
}

// Taking is a recording of all that is said in a room.
type Taking struct {
	room      *Room
	recording *Recording
	once      sync.Once
	told      func(full bool, err error)
	left      int           // samples; of the room's clock
	slow      bool          // the disk is; the same
	frames    chan []int16  // that wait for the disk
	written   chan struct{} // closed when all are written
	failed    atomic.Bool   // the disk takes no more
}

// maxUnwritten bounds the frames of a recording that wait for the disk: ten seconds.
const maxUnwritten = 500

var errSlowDisk = errors.New("the disk is too slow for the recording")

// Record records the room. told hears when it is over, and whether because the recording
// is as long as it may be.
func (r *Room) Record(into *Recording, told func(full bool, err error)) *Taking {
	t := &Taking{room: r, recording: into, told: told, left: into.limit, frames: make(chan []int16, maxUnwritten), written: make(chan struct{})}
	go t.write()
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.records = append(r.records, t)
		r.run()
	}
	r.mu.Unlock()
	if closed {
		t.finish(false)
	}
	return t
}

// Stop ends the recording.
func (t *Taking) Stop() {
	t.room.mu.Lock()
	t.room.records = slices.DeleteFunc(t.room.records, func(o *Taking) bool { return o == t })
	t.room.mu.Unlock()
	t.finish(false)
}

// take takes a frame; false when the recording is as long as it may be, or the disk fails. The room
// does not wait for the disk.
func (t *Taking) take(samples []int16) bool {
	if t.failed.Load() {
		return false
	}
	select {
	case t.frames <- samples:
	default:
		t.slow = true
		return false
	}
	t.left -= len(samples)
	return t.left > 0
}

// write writes the recording until it is over; finish waits for it.
func (t *Taking) write() {
	defer close(t.written)
	defer share.Survive(t.room.log, "writing a recording", func(error) { t.failed.Store(true) })
	for samples := range t.frames {
		if !t.recording.write(samples) {
			t.failed.Store(true) // or it is as long as it may be
		}
	}
}

// finish ends a recording that the room's clock does not know any more.
func (t *Taking) finish(full bool) {
	t.once.Do(func() {
		close(t.frames)
		<-t.written
		err := t.recording.Close()
		if t.slow {
			err = errors.Join(errSlowDisk, err)
		}
		t.told(full, err)
	})
}

// SendDigits sends keys to everybody in the room but one, without waiting.
func (r *Room) SendDigits(from *Leg, digits string, tone, pause time.Duration) {
	for _, l := range r.others(from) {
		r.mu.Lock()
		if !r.closed {
			r.group.Go(func() {
				defer share.Survive(r.log, "sending keys", nil)
				l.digits(digits, tone, pause, r.stop)
			})
		}
		r.mu.Unlock()
	}
}
