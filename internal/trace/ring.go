package trace

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

// ring keeps records until there is no more room; then the oldest go. Their texts stand in one array without pointers, so
// that keeping them gives the garbage collector nothing to do.
type ring struct {
	records []kept // in a circle; it grows to most
	// exchanges are those of records, at the same places, so that looking for one reads little memory.
	exchanges []uint64
	most      int
	first     int // index of the oldest record
	count     int
	texts     []byte // in a circle
	end       int    // how many octets of texts were ever written: the next begins there
	scratch   []byte
}

// kept is a record whose texts are apart.
type kept struct {
	Record

	from, to int // its texts, as ring.end counts
}

// The texts of a record are its name, devices, calls and message, with these octets between.
const (
	betweenTexts = "\x1e"
	betweenItems = "\x1f"
)

func newRing(l Limits) ring { return ring{most: l.Records, texts: make([]byte, l.Octets)} }

// add keeps a record and returns the number of the last one that went for it, or 0.
func (q *ring) add(r *Record, message []byte) (lost uint64) {
	k := kept{Record: *r, from: q.end}
	k.Name, k.Devices, k.Calls = "", nil, nil
	q.scratch = append(append(q.scratch[:0], r.Name...), betweenTexts...)
	q.scratch = append(join(q.scratch, r.Devices), betweenTexts...)
	q.scratch = append(join(q.scratch, r.Calls), betweenTexts...)
	q.put(q.scratch[:min(len(q.scratch), len(q.texts)/2)])
	room := min(len(message), len(q.texts)/2)
	q.put(message[:room])
	k.Cut += len(message) - room
	k.to = q.end
	for q.count > 0 && (q.count == q.most || q.records[q.first].from < q.end-len(q.texts)) {
		lost = q.records[q.first].Number
		q.records[q.first] = kept{}
		q.first = (q.first + 1) % len(q.records)
		q.count--
	}
	if q.count == len(q.records) {
		q.grow()
	}
	at := (q.first + q.count) % len(q.records)
	q.records[at], q.exchanges[at] = k, k.Exchange
	q.count++
	return lost
}

func join(to []byte, list []string) []byte {
	for i, item := range list {
		if i > 0 {
			to = append(to, betweenItems...)
		}
		to = append(to, item...)
	}
	return to
}

// put writes octets at the end of the texts. There are no more of them than fit.
func (q *ring) put(data []byte) {
	at := q.end % len(q.texts)
	n := copy(q.texts[at:], data)
	copy(q.texts, data[n:])
	q.end += len(data)
}

// grow makes room for more records.
func (q *ring) grow() {
	size := min(q.most, max(64, 2*len(q.records)))
	q.records, q.exchanges, q.first = inOrder(q.records, q.first, size), inOrder(q.exchanges, q.first, size), 0
}

// inOrder returns a longer slice with what is in a circle, from its first item on.
func inOrder[T any](circle []T, first, size int) []T {
	larger := make([]T, size)
	n := copy(larger, circle[first:])
	copy(larger[n:], circle[:first])
	return larger
}

// list appends the records after a number, the oldest first.
func (q *ring) list(to []Record, after uint64) []Record {
	begin := q.begin(after)
	to = slices.Grow(to, q.count-begin)
	for i := begin; i < q.count; i++ {
		to = append(to, q.record(q.at(i)))
	}
	return to
}

// earlier appends the records up to a number that belong to one of these exchanges. The others it does not read.
func (q *ring) earlier(to []Record, number uint64, exchanges map[uint64]bool) []Record {
	if len(exchanges) == 0 {
		return to
	}
	least := slices.Min(slices.Collect(maps.Keys(exchanges)))
	for i := range q.begin(number) {
		if at := q.at(i); q.exchanges[at] >= least && exchanges[q.exchanges[at]] {
			to = append(to, q.record(at))
		}
	}
	return to
}

// at returns the place of the record that is so many behind the first.
func (q *ring) at(i int) int { return (q.first + i) % len(q.records) }

// begin returns which record is the first after a number.
func (q *ring) begin(after uint64) int {
	return sort.Search(q.count, func(i int) bool { return q.records[q.at(i)].Number > after })
}

// record returns the record at a place, with its texts.
func (q *ring) record(at int) Record {
	k := &q.records[at]
	r := k.Record
	texts := strings.SplitN(q.text(k), betweenTexts, 4)
	r.Name, r.Devices, r.Calls, r.Message = texts[0], items(texts, 1), items(texts, 2), strings.Join(texts[min(3, len(texts)):], "")
	if r.Kind == Octets {
		r.Octets, r.Message = []byte(r.Message), ""
	}
	return r
}

// items returns the list that one of the texts of a record holds.
func items(texts []string, n int) []string {
	if n >= len(texts) || texts[n] == "" {
		return nil
	}
	return strings.Split(texts[n], betweenItems)
}

// text returns the texts of a record.
func (q *ring) text(k *kept) string {
	at, n := k.from%len(q.texts), k.to-k.from
	if over := at + n - len(q.texts); over > 0 {
		return string(q.texts[at:]) + string(q.texts[:over])
	}
	return string(q.texts[at : at+n])
}
