package media

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/share"
)

const (
	maxBuffered = 6 * audio.Frame // samples of one telephone waiting to be mixed: 120 ms
	prefill     = 2 * audio.Frame // samples collected before mixing starts
)

// Member is a leg in a room.
type Member struct {
	Leg    *Leg
	Silent bool // listens only
}

// member is a Member with its samples that were not mixed yet.
type member struct {
	Member
	buffer []int16
	flows  bool // prefill was reached
}

// Room connects legs that hear each other. Packets of two legs alone are forwarded; with more
// legs, a message or a recording, the room mixes a frame every 20 ms. Its methods are safe for
// concurrent use.
type Room struct {
	log        *slog.Logger
	mu         sync.Mutex
	members    []*member
	background Source // heard by members while no message plays
	plays      *Playing
	records    []*Recorder
	running    bool
	closed     bool
	stop       chan struct{}
	group      sync.WaitGroup
}

// NewRoom opens a room without members.
func (e *Engine) NewRoom() *Room { return &Room{log: e.cfg.Log, stop: make(chan struct{})} }

// Set replaces the members of the room, and what they hear besides each other: music, a tone,
// or nil. A leg is in one room at a time: it leaves its previous room.
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

// enter moves a leg to a room.
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

// Close stops what plays and records and closes the room. The legs stay open.
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
		plays.finish(Stopped)
	}
	for _, t := range records {
		t.finish(Stopped)
	}
}

func (l *Leg) leave(r *Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room == r {
		l.room = nil
	}
}

// others returns the other legs, or none if l only listens.
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

// mixes reports whether the room must mix. Callers hold r.mu.
func (r *Room) mixes() bool {
	switch {
	case r.plays != nil || len(r.records) > 0: // also for those who have no leg, as virtual phones
		return true
	case len(r.members) == 2:
		return r.members[0].Silent || r.members[1].Silent || r.background != nil
	}
	return len(r.members) > 2 || len(r.members) == 1 && r.background != nil
}

// voice handles a voice packet of a member.
func (r *Room) voice(l *Leg, p *rtp.Packet, from *codec) {
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
	if from.law == nil { // until the telephone sends G.711
		r.mu.Unlock()
		return
	}
	own.buffer = append(own.buffer, from.law.Samples(p.Payload)...)
	if over := len(own.buffer) - maxBuffered; over > 0 {
		own.buffer = own.buffer[over:]
	}
	r.mu.Unlock()
}

// run starts the clock if the room must mix. Callers hold r.mu.
func (r *Room) run() {
	if r.running || r.closed || !r.mixes() {
		return
	}
	r.running = true
	r.group.Go(func() {
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		began, done := time.Now(), 0 // frames
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
			}
			// A busy machine drops ticks: the frames that they stand for follow, so that what plays and records lasts
			// its time.
			due := int(time.Since(began) / frameTime)
			for done = max(done, due-maxLate); done < due; done++ {
				if !r.mix() {
					return
				}
			}
		}
	})
}

const (
	frameTime = 20 * time.Millisecond
	maxLate   = 50 // frames that are made up for at once: one second
)

// mix sends one frame to every member. It returns false when mixing is no longer needed. A
// panic loses only that frame.
func (r *Room) mix() (more bool) {
	defer share.Survive(r.log, "mixing voice", func(error) { more = true })
	out, more := r.frame()
	for i, l := range out.legs {
		l.sendFrame(out.frames[i])
	}
	if out.finished != nil {
		r.report(func() { out.finished.finish(out.end) })
	}
	for _, t := range out.full {
		r.report(func() { t.finish(AtLimit) })
	}
	return more
}

// report calls f on a goroutine that the room waits for. The clock uses it to report the end of
// a message or recording.
func (r *Room) report(f func()) {
	r.group.Go(func() {
		defer share.Survive(r.log, "reporting the end of a message or recording", nil)
		f()
	})
}

// mixed is one frame for every member, with what ends with it.
type mixed struct {
	legs     []*Leg
	frames   [][]int16
	finished *Playing
	end      End // of finished
	full     []*Recorder
}

// frame mixes one frame. It returns false when mixing is no longer needed.
func (r *Room) frame() (out mixed, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mixes() {
		r.running = false
		return out, false
	}
	var sum [audio.Frame]int32
	heard := make([][]int16, len(r.members))
	for i, m := range r.members {
		if heard[i] = m.take(); heard[i] != nil {
			add(&sum, heard[i])
		}
	}
	var extra [audio.Frame]int32
	if r.plays != nil {
		if out.end = r.plays.mix(&extra); out.end != "" {
			out.finished, r.plays = r.plays, nil
		}
	} else if r.background != nil {
		var samples [audio.Frame]int16
		r.background.next(samples[:])
		add(&extra, samples[:])
	}
	for i, m := range r.members {
		out.legs = append(out.legs, m.Leg)
		out.frames = append(out.frames, minus(&sum, &extra, heard[i]))
	}
	all := minus(&sum, &extra, nil)
	r.records = slices.DeleteFunc(r.records, func(t *Recorder) bool {
		if t.take(all) {
			return false
		}
		out.full = append(out.full, t)
		return true
	})
	return out, true
}

// take returns a frame of the member's samples, or nil.
func (m *member) take() []int16 {
	if !m.flows && len(m.buffer) < prefill || len(m.buffer) < audio.Frame {
		m.flows = false
		return nil
	}
	m.flows = true
	out := m.buffer[:audio.Frame:audio.Frame]
	m.buffer = m.buffer[audio.Frame:]
	return out
}

func add(sum *[audio.Frame]int32, samples []int16) {
	for i, s := range samples {
		sum[i] += int32(s)
	}
}

// minus returns the sum without a member's own samples, clipped to 16 bits.
func minus(sum, extra *[audio.Frame]int32, own []int16) []int16 {
	var rest [audio.Frame]int32
	for i := range rest {
		rest[i] = sum[i] + extra[i]
		if own != nil {
			rest[i] -= int32(own[i])
		}
	}
	return audio.Mixed(&rest)
}

// End is why a message or recording ended.
type End string

// A message or recording ends by Stop or with its room, a message at its end, either at its limit, and a recording if
// it cannot be written.
const (
	Stopped End = "stopped"
	AtEnd   End = "at its end"
	AtLimit End = "at its limit"
	Failed  End = "failed"
)

// Playing is a message being played in a room.
type Playing struct {
	room *Room
	from Source
	left int // samples; negative: to the end
	once sync.Once
	done func(End)
}

// Play plays a message to all members, for limit or, if that is 0, to its end. It stops the
// message being played before. done is called once when the message ends.
func (r *Room) Play(from Source, limit time.Duration, done func(End)) *Playing {
	p := &Playing{room: r, from: from, left: -1, done: done}
	if limit > 0 {
		p.left = audio.SamplesIn(limit)
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
		old.finish(Stopped)
	}
	if closed {
		p.finish(Stopped)
	}
	return p
}

// mix adds a frame of the message. It returns why the message ends with this frame, or "".
func (p *Playing) mix(into *[audio.Frame]int32) End {
	var heard [audio.Frame]int16
	more := p.from.next(heard[:])
	if p.left >= 0 && p.left <= audio.Frame {
		add(into, heard[:p.left])
		return AtLimit
	}
	add(into, heard[:])
	p.left -= audio.Frame
	if !more {
		return AtEnd
	}
	return ""
}

func (p *Playing) finish(why End) { p.once.Do(func() { p.done(why) }) }

// Stop stops the message. done is called before Stop returns.
func (p *Playing) Stop() {
	p.room.mu.Lock()
	if p.room.plays == p {
		p.room.plays = nil
	}
	p.room.mu.Unlock()
	p.finish(Stopped)
}

// Recorder records all members of a room.
type Recorder struct {
	room      *Room
	recording *audio.Recording
	once      sync.Once
	done      func(why End, err error)
	left      int           // samples, by the room's clock
	slow      bool          // the disk is too slow; by the room's clock
	frames    chan []int16  // waiting for the disk
	written   chan struct{} // closed after all frames were written
	failed    atomic.Bool   // the file accepts no more
}

// maxUnwritten bounds the frames of a recording waiting for the disk: ten seconds.
const maxUnwritten = 500

var errSlowDisk = errors.New("disk too slow for the recording")

// Record records the room into a file. done is called once when the recording ends; err says what
// failed. The recorder closes the file.
func (r *Room) Record(into *audio.Recording, done func(why End, err error)) *Recorder {
	t := &Recorder{room: r, recording: into, done: done, left: into.Left(), frames: make(chan []int16, maxUnwritten), written: make(chan struct{})}
	go t.write()
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.records = append(r.records, t)
		r.run()
	}
	r.mu.Unlock()
	if closed {
		t.finish(Stopped)
	}
	return t
}

// Stop stops the recording. done is called before Stop returns.
func (t *Recorder) Stop() {
	t.room.mu.Lock()
	t.room.records = slices.DeleteFunc(t.room.records, func(o *Recorder) bool { return o == t })
	t.room.mu.Unlock()
	t.finish(Stopped)
}

// take queues a frame without waiting for the disk. It returns false if the recording must
// stop.
func (t *Recorder) take(samples []int16) bool {
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

// write writes the queued frames. finish waits for it.
func (t *Recorder) write() {
	defer close(t.written)
	defer share.Survive(t.room.log, "writing a recording", func(error) { t.failed.Store(true) })
	for samples := range t.frames {
		if !t.recording.Write(samples) {
			t.failed.Store(true) // or its maximum length is reached
		}
	}
}

// finish closes a recording that the room has removed.
func (t *Recorder) finish(why End) {
	t.once.Do(func() {
		close(t.frames)
		<-t.written
		err := t.recording.Close()
		if t.slow {
			err = errors.Join(errSlowDisk, err)
		}
		if err != nil {
			why = Failed
		}
		t.done(why, err)
	})
}

// SendDigits sends digits to all members except from, without waiting for their end.
func (r *Room) SendDigits(from *Leg, digits string, tone, pause time.Duration) {
	for _, l := range r.others(from) {
		r.mu.Lock()
		if !r.closed {
			r.group.Go(func() {
				defer share.Survive(r.log, "sending digits", nil)
				l.digits(digits, tone, pause, r.stop)
			})
		}
		r.mu.Unlock()
	}
}
