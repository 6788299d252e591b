package trace

import (
	"slices"
	"sort"
	"strings"
)

// ring keeps records until there is no more room; then the oldest go. Their texts stand in one array without pointers, so
// that keeping them gives the garbage collector nothing to do.
type ring struct {
	records []kept // in a circle; it grows to most
	most    int
	first   int // index of the oldest record
	count   int
	texts   []byte // in a circle
	end     int    // how many octets of texts were ever written: the next begins there
	scratch []byte
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
	q.records[(q.first+q.count)%len(q.records)] = k
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
	larger := make([]kept, min(q.most, max(64, 2*len(q.records))))
	n := copy(larger, q.records[q.first:])
	copy(larger[n:], q.records[:q.first])
	q.records, q.first = larger, 0
}

// list appends the records after a number, the oldest first.
func (q *ring) list(to []Record, after uint64) []Record {
	at := func(i int) *kept { return &q.records[(q.first+i)%len(q.records)] }
	begin := sort.Search(q.count, func(i int) bool { return at(i).Number > after })
	to = slices.Grow(to, q.count-begin)
	for i := begin; i < q.count; i++ {
		k := at(i)
		r := k.Record
		texts := strings.SplitN(q.text(k), betweenTexts, 4)
		r.Name, r.Devices, r.Calls, r.Message = texts[0], items(texts, 1), items(texts, 2), strings.Join(texts[min(3, len(texts)):], "")
		if r.Kind == Octets {
			r.Octets, r.Message = []byte(r.Message), ""
		}
		to = append(to, r)
	}
	return to
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
