package webhook

// The limits of the dead letters of clients. Those of the configuration have the limits of each hook alone.
const (
	ownerSized = 8 << 20   // octets of an owner; the oldest go first
	allSized   = 256 << 20 // and of all; the owner with the most loses them
)

// trim drops dead letters if the hooks of an owner, or of all owners, have too many. It counts them as lost.
func (s *Sender) trim(owner string) error {
	if owner == "" {
		return nil
	}
	s.trimming.Lock()
	defer s.trimming.Unlock()
	most := owner
	all, octets := 0, map[string]int{}
	hooks := map[string][]*delivery{}
	for _, d := range s.all() {
		if of := d.target.hook.Owner; of != "" {
			n := d.letters.size()
			all += n
			octets[of] += n
			hooks[of] = append(hooks[of], d)
			if octets[of] > octets[most] {
				most = of
			}
		}
	}
	freed, err := free(hooks[owner], octets[owner]-ownerSized)
	if err == nil {
		_, err = free(hooks[most], all-freed-allSized)
	}
	return err
}

// free drops the oldest dead letters of some hooks until at least so many octets are free. It returns how many are.
func free(hooks []*delivery, octets int) (freed int, err error) {
	for freed < octets {
		n, err := dropOldest(hooks)
		if err != nil || n == 0 {
			return freed, err
		}
		freed += n
	}
	return freed, nil
}

// dropOldest drops the oldest dead letter of some hooks, and returns its octets; 0 if there is none.
func dropOldest(hooks []*delivery) (freed int, err error) {
	var from *delivery
	oldest := ""
	for _, d := range hooks {
		if key := d.letters.first(); key != "" && (from == nil || key < oldest) {
			from, oldest = d, key
		}
	}
	if from == nil {
		return 0, nil
	}
	before := from.letters.size()
	err = from.letters.drop(oldest)
	from.counts.lost.Add(1)
	return before - from.letters.size(), err
}

// size returns how many octets there are; 0 if they cannot be read.
func (l *letters) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.load() // put, which needs it, says why not
	return l.octets
}

// first returns the key of the oldest letter; "" if there is none.
func (l *letters) first() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest()
}
