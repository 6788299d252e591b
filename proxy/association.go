package proxy

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Some services open something that lasts, under a reference: a snapshot that comes in
// segments, a collection of digits, call detail records, a vendor's private services. What
// the switching function sends under its reference reaches the client that opened it,
// under the client's.

// association is such a thing.
type association struct {
	kind    *kindOfAssociation
	session *Session // nil for one of the core's own
	life    *life    // of the link
	ref     string   // the client's
	linkRef string
	device  policy.Number // that the right to it is a right to ...
	action  policy.Action
	take    func(*uacsta.Message) // for the core's own
	limit   *time.Timer           // until its next segment comes; nil where it lasts
	parts   int                   // segments that have come; guarded by life.mu
}

// kindOfAssociation says how messages name it.
type kindOfAssociation struct {
	element string                     // that holds the reference
	within  string                     // element around it in the answer that opens it; "" for none
	ends    []string                   // messages, of either side, that end it
	cancel  func(linkRef string) any   // the request that ends it at the link; nil where it ends by itself
	aborted func(clientRef string) any // what the client is told when the link is gone; nil where nothing
}

var (
	segments   = &kindOfAssociation{element: "serviceCrossRefID"}
	deviceData = &kindOfAssociation{element: segments.element, within: "crossRefIDorSnapshotData"}
	collection = &kindOfAssociation{
		element: "dcollCrossRefID", ends: []string{uacsta.NameStopDataCollection},
		cancel:  func(ref string) any { return uacsta.StopDataCollection{DcollCrossRefID: ref} },
		aborted: func(ref string) any { return uacsta.StopDataCollection{DcollCrossRefID: ref} },
	}
	records = &kindOfAssociation{
		element: "cdrCrossRefID", ends: []string{uacsta.NameStopCDRTransmission},
		cancel:  func(ref string) any { return uacsta.StopCDRTransmission{CdrCrossRefID: ref} },
		aborted: func(ref string) any { return uacsta.StopCDRTransmission{CdrCrossRefID: ref} },
	}
	escapes = &kindOfAssociation{
		element: "escapeRegisterID", ends: []string{uacsta.NameEscapeRegisterCancel, uacsta.NameEscapeRegisterAbort},
		cancel:  func(ref string) any { return uacsta.EscapeRegisterCancel{EscapeRegisterID: ref} },
		aborted: func(ref string) any { return uacsta.EscapeRegisterAbort{EscapeRegisterID: ref} },
	}
)

// openers are the requests whose answer may open one.
var openers = map[string]*kindOfAssociation{
	uacsta.NameSnapshotDevice: deviceData, uacsta.NameSnapshotCall: deviceData, uacsta.NameStartDataCollection: collection, uacsta.NameStartCDRTransmission: records, uacsta.NameEscapeRegister: escapes,
}

// lastingKind returns the kind of what an answer opens, where it lasts until it is ended; nil for
// another answer.
func lastingKind(answer string) *kindOfAssociation {
	service, is := strings.CutSuffix(answer, "Response")
	if kind := openers[service]; is && kind != nil && kind.cancel != nil {
		return kind
	}
	return nil
}

// underReference are the requests, of either side, that belong to one.
var underReference = map[string]*kindOfAssociation{
	uacsta.NameSnapshotDeviceData: segments, uacsta.NameSnapshotCallData: segments,
	uacsta.NameStopDataCollection: collection, uacsta.NameSuspendDataCollection: collection, uacsta.NameResumeDataCollection: collection, uacsta.NameDataCollected: collection,
	uacsta.NameDataCollectionSuspended: collection, uacsta.NameDataCollectionResumed: collection,
	uacsta.NameCDRNotification: records, uacsta.NameCDRReport: records, uacsta.NameSendStoredCDR: records, uacsta.NameStopCDRTransmission: records,
	uacsta.NameEscape: escapes, uacsta.NameEscapeRegisterCancel: escapes, uacsta.NameEscapeRegisterAbort: escapes,
}

// ofSwitch are the requests that name no device because they concern the whole switch:
// they need the right to control all of it.
var ofSwitch = map[string]bool{uacsta.NameEscapeRegister: true, uacsta.NameEscape: true, uacsta.NameStartCDRTransmission: true, uacsta.NamePrivateDataVersionSelection: true}

const (
	maxAssociations = 500              // of one session
	segmentPause    = 30 * time.Second // the next segment of a client's snapshot must have come in this time
)

var errReference = uacsta.Refuse(uacsta.Operation, uacsta.InvalidCrossRefID)

// ends reports whether a message is the last one.
func (a *association) ends(m *uacsta.Message) bool {
	return slices.Contains(a.kind.ends, m.Name()) || m.Text("lastSegment") == "true"
}

// carryUnderReference carries a request that belongs to an association, or one that
// concerns the whole switch; false when it is neither.
func (s *Session) carryUnderReference(req *uacsta.Message, answer answerer) bool {
	kind := underReference[req.Name()]
	if ref := kind.of(req); ref != "" {
		s.mu.Lock()
		a := s.associations[ref]
		s.mu.Unlock()
		if a == nil || a.kind.element != kind.element {
			answer(nil, errReference)
			return true
		}
		last := a.ends(req)
		if last {
			a.forget()
		}
		req.SetText(kind.element, a.linkRef)
		a.life.requestIf(s, req, func() error {
			if there := a.life.associations.of(a.key()); there != a && (there != nil || !last) { // the reference is another's by now
				return errReference
			}
			return nil
		}, answer)
		return true
	}
	if !ofSwitch[req.Name()] {
		return false
	}
	t := s.homeLink()
	switch {
	case !s.may(policy.Control, policy.Whole):
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.PrivilegeViolationSpecifiedDevice))
	case t == nil:
		answer(nil, errLinkDown)
	default:
		l := t.now()
		l.request(s, req, s.opening(l, req.Name(), policy.Whole, answer))
	}
	return true
}

// of returns the reference in a message, "" when there is none.
func (k *kindOfAssociation) of(m *uacsta.Message) string {
	if k == nil {
		return ""
	}
	return m.Text(k.element)
}

// at returns where the reference stands in an answer: some peers leave out what belongs
// around it.
func (k *kindOfAssociation) at(m *uacsta.Message) string {
	if path := k.within + "/" + k.element; k.within != "" && m.Has(path) {
		return path
	}
	return k.element
}

// opening returns what takes the answer to a request about a device: it notes the
// association that it opens, if it does.
func (s *Session) opening(l *life, name string, device policy.Number, answer answerer) answerer {
	kind := openers[name]
	if kind == nil {
		return answer
	}
	return func(res *uacsta.Message, err error) {
		if err != nil || res.Text(kind.at(res)) == "" {
			answer(res, err)
			return
		}
		linkRef := reference(res.Text(kind.at(res)))
		if linkRef == "" {
			answer(nil, uacsta.Refuse(uacsta.Unspecified, ""))
			return
		}
		a := &association{kind: kind, session: s, life: l, ref: s.proxy.refs.next(), linkRef: linkRef, device: device, action: ActionOf(name)}
		if kind == deviceData {
			a.limit = time.AfterFunc(segmentPause, a.expire)
		}
		s.mu.Lock()
		fits := !s.closed && len(s.associations) < maxAssociations && s.may(a.action, a.device) // its rights may have gone while the link was thinking
		if fits {
			s.associations[a.ref] = a
		}
		s.mu.Unlock()
		if !fits {
			a.forget()
			a.cancel()
			answer(nil, uacsta.Refuse(uacsta.SubscribedResourceAvailability, uacsta.ResourceLimitExceeded))
			return
		}
		if err := a.enter(); err != nil {
			a.forget()
			answer(nil, err)
			return
		}
		if a.moved() { // a reload came between: it may not have found the association in the table
			a.forget()
			a.cancel()
			answer(nil, errMoved)
			return
		}
		res.SetText(kind.at(res), a.ref)
		answer(res, nil)
	}
}

// ended implements possession: one that is being ended is not in the table any more.
func (a *association) ended() bool { return false }

// key is what the association has in the life's table.
func (a *association) key() string { return a.kind.element + " " + a.linkRef }

// enter puts the association into the life's table. A reference that something else has is refused.
func (a *association) enter() error {
	err := a.life.associations.enter(a.key(), a)
	if errors.Is(err, errReferenceUsed) {
		return uacsta.Refuse(uacsta.Unspecified, "")
	}
	return err
}

// forget takes the association out of the tables.
func (a *association) forget() {
	if a.session != nil {
		a.session.mu.Lock()
		delete(a.session.associations, a.ref)
		a.session.mu.Unlock()
	}
	if a.limit != nil {
		a.limit.Stop()
	}
	a.life.associations.leave(a.key(), a)
}

// expire gives up a snapshot whose next segment has not come. The client is told nothing: there is
// no word for it, and what it has is not the whole.
func (a *association) expire() {
	a.life.managed.log.Warn("segmented snapshot incomplete")
	a.forget()
}

// another counts a segment, and reports whether it is one too many.
func (a *association) another() bool {
	if a.limit == nil {
		return false
	}
	a.life.mu.Lock()
	defer a.life.mu.Unlock()
	a.parts++
	a.limit.Reset(segmentPause)
	return a.parts > maxSegments
}

// cancel ends the association at the link.
func (a *association) cancel() {
	if a.kind.cancel != nil {
		req := uacsta.Encode(a.kind.cancel(a.linkRef), uacsta.Edition3)
		a.life.managed.proxy.spawn(func() {
			a.life.releaseReference(a.session, req, func() bool { return a.life.associations.of(a.key()) == nil }, func() {})
		}) // not here: we may be inside the link's own call
	}
}

// underReference passes a request of the switching function to whoever opened what it
// belongs to.
func (t *managedLink) underReference(req *uacsta.Message) error {
	kind := underReference[req.Name()]
	a := t.now().associations.of(kind.element + " " + kind.of(req))
	if a == nil {
		t.proxy.stats.StrayEvents.Add(1)
		return errReference
	}
	if a.another() {
		a.expire()
		return errReference
	}
	if a.ends(req) {
		a.forget()
		t.remember(a.device, false)
	}
	if a.take != nil {
		a.take(req)
		return nil
	}
	req.SetText(kind.element, a.ref)
	a.session.translate(req, "")
	a.session.deliver(delivery{msg: req})
	return nil
}

// notifyAborted tells whoever opened it that nothing comes any more.
func (a *association) notifyAborted() {
	switch {
	case a.take != nil:
		a.take(nil)
	case a.kind.aborted != nil:
		a.session.send(a.kind.aborted(a.ref))
	}
}

// moved reports whether another link has the device now. A snapshot that is on its way comes to its
// end nevertheless.
func (a *association) moved() bool {
	return a.session != nil && a.kind.cancel != nil && a.session.moved(a.life.managed, a.device)
}

// withdraw ends what its client may not have any more, and tells both sides.
func (a *association) withdraw() {
	a.forget()
	a.cancel()
	a.notifyAborted()
}

// endMoved ends what clients have open at the link whose device another link has now.
func (t *managedLink) endMoved() {
	for _, a := range t.now().associations.list() {
		if a.moved() {
			a.withdraw()
		}
	}
}

// endAssociations ends what the session has open.
func (s *Session) endAssociations() {
	s.mu.Lock()
	open := slices.Collect(maps.Values(s.associations))
	s.mu.Unlock()
	for _, a := range open {
		a.forget()
		a.cancel()
	}
}
