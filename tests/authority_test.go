package tests

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/audit"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// stage is a proxy with a kind of link, and who talks there.
type stage struct {
	*running
	t        *testing.T
	words    map[string]string // what stands for {me} and the like
	overseer *overseer         // may control everything; watches Alice and Bob
	far      *overseer         // may control everything at the switching function
	watched  []string          // devices
	audit    string            // file
	p1, p3   int               // ports of CSTA in ASN.1
	http     int               // port of the API
	wire     func() error      // looks at what has been sent to the switching function since it looked last: an error if it names Alice, Bob or their call
	pictures string            // of what is watched, as it was in the beginning
	states   string            // of Mallory's calls, as they were made
	call     func()            // has Mallory in a call; nil: there she stays in the one that she has
	granted  map[string]bool   // services that were carried out for Mallory
	grants   []string          // services that must be
	lines    bool              // Mallory comes over TR/87 with a line, too
	end      func()            // looks at the switching function once more, and ends it
}

func (s *stage) fillIn(text string) string {
	for word, value := range s.words {
		text = strings.ReplaceAll(text, "{"+word+"}", value)
	}
	return text
}

// mallory is Mallory at one front.
type mallory struct {
	front, who string
	line       bool // her device was named apart from requests
	alone      bool // her requests have no session: what needs one is refused to everybody, before the core sees it
	// send sends documents and returns an answer to each. A barrier is sent behind them: what has
	// no answer before that of the barrier gets none.
	send func(documents []string, barrier string) []*uacsta.Message
}

// Nobody reaches the call or the device of another, by no service, in no way of naming it, over
// no front and before no kind of link: the answer is an error, who has the right to watch sees
// nothing happen, the switching function is not asked for it, and it is written down who tried
// what.
func TestAuthority(t *testing.T) {
	t.Parallel()
	long(t)
	if services := len(byService(namings())); services < 100 {
		t.Errorf("only %d services name somebody", services)
	}
	for name, set := range stages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := set(t)
			s.quiet("before")
			var attempts []attempt
			tried := 0
			for _, m := range s.fronts() {
				for _, list := range byService(namings()) {
					attempts = append(attempts, s.try(m, list)...)
					tried += len(list)
				}
			}
			asn1, count := s.tryASN1()
			attempts = append(attempts, asn1...)
			attempts = append(attempts, s.tryHTTP()...)
			s.quiet("at the end")
			s.stop()
			s.end()
			s.written(attempts)
			t.Logf("%d requests, and %d in ASN.1; %d services carried out where they named only her own", tried, count, len(s.granted))
			for _, service := range s.grants {
				if !s.granted[service] {
					t.Errorf("%s is refused where it names only her own", service)
				}
			}
		})
	}
}

func byService(all []naming) (lists [][]naming) {
	for i, n := range all {
		if i == 0 || all[i-1].service != n.service {
			lists = append(lists, nil)
		}
		lists[len(lists)-1] = append(lists[len(lists)-1], n)
	}
	return lists
}

// attempt is what must stand in the audit file.
type attempt struct{ who, service, about, way string }

// try tries the ways of one service.
func (s *stage) try(m mallory, list []naming) (all []attempt) {
	s.t.Helper()
	service := list[0].service
	var refused, carried []naming
	var documents []string
	for _, n := range list {
		if m.line {
			n = n.withLine()
		}
		if n.own {
			carried = append(carried, n)
			continue
		}
		refused, documents = append(refused, n), append(documents, s.fillIn(n.document))
	}
	_ = s.wire()
	for i, answer := range m.send(documents, "") {
		n := refused[i]
		if answer == nil || answer.Err() == nil || answer.Err().Category == "" {
			s.t.Errorf("%s by %s, %s: the answer is %v\n%s", service, m.front, n.way, answer, documents[i])
		}
		if !m.alone || !aside.MatchString(service) {
			all = append(all, attempt{m.who, service, s.fillIn(n.about), m.front + ", " + n.way})
		}
	}
	if err := s.wire(); err != nil {
		s.t.Errorf("%s by %s: the switching function got %v", service, m.front, err)
	}
	barrier := ""
	if uacsta.NewMessage("", service).OneWay() {
		barrier = uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(s.words["me"])}, uacsta.Edition6).String()
	}
	for _, n := range carried {
		document := n.document
		switch {
		case s.call == nil: // Mallory's call must last
			document = strings.NewReplacer("{own}", "0", "{held}", "0").Replace(document)
		case strings.Contains(document, "<callID>"):
			s.call()
		}
		answer := m.send([]string{s.fillIn(document)}, barrier)[0]
		if answer != nil && answer.Err() == nil {
			s.granted[service] = true
		}
		if answer != nil && answer.Err() != nil && (strings.Contains(document, "<callID>") || !uacsta.Observes(service)) && (!m.alone || !aside.MatchString(service)) {
			all = append(all, attempt{m.who, service, "", m.front + ", " + n.way})
		}
	}
	s.quiet(service + " by " + m.front)
	return all
}

// withLine is the naming of somebody whose line is known apart from requests: in every connection
// it is that line that is meant.
func (n naming) withLine() naming {
	callID, _, connection := strings.Cut(n.about, "@")
	switch {
	case connection && callID != "{foreign}", strings.HasSuffix(n.way, "foreign deviceID alone"):
		n.own, n.about = true, ""
	case connection:
		n.about = callID + "@{me}"
	}
	return n
}

// quiet checks that nothing has happened to Alice and Bob.
func (s *stage) quiet(when string) {
	s.t.Helper()
	var pictures strings.Builder
	for _, device := range s.watched {
		pictures.WriteString(s.overseer.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).String() + "\n")
	}
	for _, m := range s.overseer.news {
		if device := s.overseer.refs[m.CrossRef()]; slices.Contains(s.watched, device) {
			s.t.Errorf("%s: %s hears %s", when, device, m)
		}
	}
	s.overseer.news = nil
	switch {
	case s.pictures == "":
		s.pictures = pictures.String()
	case s.pictures != pictures.String():
		s.t.Fatalf("%s: the others' calls are\n%s\nand were\n%s", when, pictures.String(), s.pictures)
	}
}

// entries reads an audit file.
func entries(t *testing.T, file string) (list []audit.Entry) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e audit.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// objects are what an entry is about.
func objects(e audit.Entry) []string { return slices.Concat(e.Devices, e.Destinations, e.Connections) }

// written checks the audit file: it has every attempt, once, with what it was about; and nothing
// that was carried out is about somebody else.
func (s *stage) written(all []attempt) {
	s.t.Helper()
	left := map[string]int{}
	var missing []string
	for _, e := range entries(s.t, s.audit) {
		if !slices.ContainsFunc(all, func(a attempt) bool { return a.who == e.Who }) {
			continue
		}
		if e.Kind == "refused" || e.Kind == "done" && e.Outcome != "ok" {
			key := e.Who + " " + e.Service
			left[key]++
			for _, object := range objects(e) {
				left[key+" "+object]++
			}
			continue
		}
		for _, object := range objects(e) {
			_, device, _ := strings.Cut(object, "@")
			if slices.Contains([]string{s.words["alice"], s.words["bob"]}, object) || device == s.words["alice"] || strings.HasPrefix(object, s.words["foreign"]+"@") && e.Kind == "done" {
				s.t.Errorf("carried out: %+v", e)
			}
		}
	}
	for _, a := range all {
		for _, key := range []string{a.who + " " + a.service, a.who + " " + a.service + " " + a.about} {
			if left[key]--; left[key] < 0 && !strings.HasSuffix(key, " ") {
				missing = append(missing, key+": "+a.way)
				break
			}
		}
	}
	if len(missing) > 0 {
		s.t.Errorf("%d attempts are not in the audit file:\n%s", len(missing), strings.Join(missing[:min(len(missing), 50)], "\n"))
	}
}
