package demo

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/tensor"
)

// The language of the demo is made by a grammar, so that each line of data is
// known to be right. A request asks for one or two commands, in English:
//
//	line     = robot ": " request "\n"                  answered by the commands
//	request  = command { joint command }                1 or 2, " then ", " and ", …
//	command  = "pick up" object                         also grab, lift, take
//	         | "put" object relation object             also place, set
//	         | "push" object direction                  also shove, slide
//	         | "look at" object                         also watch, face
//	         | "drive" ahead-or-back number "metres"    also go, move, roll
//	         | "turn" left-or-right angle "degrees"     also rotate, spin
//	         | "wait" number "seconds"                  also pause
//	         | "open" or "close" "the gripper"
//	object   = "the" colour kind                        8 colours, 10 kinds
//
// An adverb of speed may stand before or behind a command that moves something.
// Each robot has its own way to write commands (see dialects): the base model was
// trained on those of ada, bob, dan and eve. LoRA teaches it those that dan has after
// an update.

// Sample is a request to a robot and the right answer.
type Sample struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

type object struct{ colour, kind string }

// command is one thing that a robot is told to do.
type command struct {
	verb        string // a key of verbs
	what, where object
	relation    string // of put
	direction   string // of push, drive and turn
	amount      int    // metres, degrees or seconds
	speed       string // "", "slow" or "fast"
}

var (
	colours = []string{"red", "green", "blue", "yellow", "white", "black", "orange", "pink"}
	kinds   = []string{"block", "cup", "ball", "box", "plate", "bottle", "spoon", "book", "key", "tray"}
	angles  = []int{15, 30, 45, 60, 90, 120, 135, 180}
	digits  = []string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
	joints  = []string{", then ", " and then ", " and ", ", and ", ", "}

	verbs = map[string][]string{
		"pick": {"pick up", "grab", "lift", "take"}, "put": {"put", "place", "set"}, "push": {"push", "shove", "slide"},
		"look": {"look at", "watch", "face"}, "drive": {"drive", "go", "move", "roll"}, "turn": {"turn", "rotate", "spin"},
		"wait": {"wait", "pause"}, "open": {"open"}, "close": {"close"},
	}
	verbNames = []string{"pick", "put", "push", "look", "drive", "turn", "wait", "open", "close"}
	often     = []int{4, 6, 3, 2, 3, 3, 2, 1, 1} // how often each verb comes up, of 25

	relations = map[string][]string{
		"on": {"on", "onto", "on top of"}, "in": {"in", "into", "inside"}, "left": {"left of", "to the left of"},
		"right": {"right of", "to the right of"}, "behind": {"behind"}, "front": {"in front of"},
	}
	relationNames = []string{"on", "in", "left", "right", "behind", "front"}

	directions = map[string]map[string][]string{
		"push":  {"left": {"to the left"}, "right": {"to the right"}, "away": {"away"}, "near": {"closer", "nearer"}},
		"drive": {"ahead": {"forward", "ahead"}, "back": {"back", "backwards"}},
		"turn":  {"left": {"left", "to the left"}, "right": {"right", "to the right"}},
	}
	directionNames = map[string][]string{"push": {"left", "right", "away", "near"}, "drive": {"ahead", "back"}, "turn": {"left", "right"}}

	speeds = map[string][]string{"slow": {"slowly", "gently", "carefully"}, "fast": {"quickly", "fast"}}
)

// source draws what a grammar leaves open.
type source struct{ random *tensor.Random }

func (s source) below(n int) int { return int(uint64(s.random.Uint32()) * uint64(n) >> 32) }

func (s source) one(of []string) string { return of[s.below(len(of))] }

func (s source) object() object { return object{s.one(colours), s.one(kinds)} }

// command draws a command.
func (s source) command() command {
	var c command
	at := s.below(25)
	for i, n := range often {
		if at -= n; at < 0 {
			c.verb = verbNames[i]
			break
		}
	}
	switch c.verb {
	case "pick", "look":
		c.what = s.object()
	case "put":
		c.what, c.relation, c.where = s.object(), s.one(relationNames), s.object()
	case "push":
		c.what, c.direction = s.object(), s.one(directionNames[c.verb])
	case "drive":
		c.direction, c.amount = s.one(directionNames[c.verb]), 1+s.below(9)
	case "turn":
		c.direction, c.amount = s.one(directionNames[c.verb]), angles[s.below(len(angles))]
	case "wait":
		c.amount = 1 + s.below(60)
	}
	if slices.Contains([]string{"pick", "put", "push", "drive"}, c.verb) {
		c.speed = s.one([]string{"", "", "", "slow", "fast"})
	}
	return c
}

// english words a command.
func (s source) english(c command) string {
	words := []string{s.one(verbs[c.verb])}
	add := func(w ...string) { words = append(words, w...) }
	name := func(o object) { add("the", o.colour, o.kind) }
	number := func(n int) {
		if n < len(digits) && s.below(2) == 0 {
			add(digits[n])
		} else {
			add(fmt.Sprint(n))
		}
	}
	switch c.verb {
	case "pick", "look":
		name(c.what)
	case "put":
		name(c.what)
		add(s.one(relations[c.relation]))
		name(c.where)
	case "push":
		name(c.what)
		add(s.one(directions[c.verb][c.direction]))
	case "drive":
		add(s.one(directions[c.verb][c.direction]))
		number(c.amount)
		add(s.one([]string{"metres", "meters", "m"}))
	case "turn":
		add(s.one(directions[c.verb][c.direction]), s.one([]string{"by ", ""})+fmt.Sprint(c.amount), "degrees")
	case "wait":
		if s.below(2) == 0 {
			add("for")
		}
		number(c.amount)
		add(s.one([]string{"seconds", "s"}))
	case "open", "close":
		add("the", s.one([]string{"gripper", "hand", "claw"}))
	}
	if c.speed != "" {
		if adverb := s.one(speeds[c.speed]); s.below(2) == 0 {
			words = slices.Insert(words, 0, adverb)
		} else {
			add(adverb)
		}
	}
	return strings.Join(words, " ")
}

// request words several commands.
func (s source) request(commands []command) string {
	var b strings.Builder
	for i, c := range commands {
		if i > 0 {
			b.WriteString(s.one(joints))
		}
		b.WriteString(s.english(c))
	}
	return b.String()
}

// commands draws n of the commands that are wanted.
func (s source) commands(n int, wanted func(command) bool) []command {
	var commands []command
	for len(commands) < n {
		if c := s.command(); wanted(c) {
			commands = append(commands, c)
		}
	}
	return commands
}

// dialects are the robots' languages.
var dialects = map[string]func([]command) string{"ada": ada, "bob": bob, "dan": dan, "eve": eve}

// known are the robots of the base's training data.
var known = []string{"ada", "bob", "dan", "eve"}

// each writes commands one by one.
func each(commands []command, between string, write func(command) string) string {
	parts := make([]string, len(commands))
	for i, c := range commands {
		parts[i] = write(c)
	}
	return strings.Join(parts, between)
}

// ada has function calls: "pick(red cup, slow); turn(left, 90)".
func ada(commands []command) string {
	return each(commands, "; ", func(c command) string {
		var args []string
		switch c.verb {
		case "pick", "look":
			args = []string{c.what.colour + " " + c.what.kind}
		case "put":
			args = []string{c.what.colour + " " + c.what.kind, c.relation, c.where.colour + " " + c.where.kind}
		case "push":
			args = []string{c.what.colour + " " + c.what.kind, c.direction}
		case "drive", "turn":
			args = []string{c.direction, fmt.Sprint(c.amount)}
		case "wait":
			args = []string{fmt.Sprint(c.amount)}
		}
		if c.speed != "" {
			args = append(args, c.speed)
		}
		return c.verb + "(" + strings.Join(args, ", ") + ")"
	})
}

// bob has lines of an assembler, in capitals: "PICK CUP RED SLOW / TURN -90".
func bob(commands []command) string {
	return each(commands, " / ", func(c command) string {
		words := []string{c.verb}
		switch c.verb {
		case "pick", "look":
			words = append(words, c.what.kind, c.what.colour)
		case "put":
			words = append(words, c.what.kind, c.what.colour, c.relation, c.where.kind, c.where.colour)
		case "push":
			words = append(words, c.what.kind, c.what.colour, c.direction)
		case "drive", "turn":
			sign := map[string]string{"ahead": "+", "back": "-", "right": "+", "left": "-"}[c.direction]
			words = append(words, sign+fmt.Sprint(c.amount))
		case "wait":
			words = append(words, fmt.Sprint(c.amount))
		}
		if c.speed != "" {
			words = append(words, c.speed)
		}
		return strings.ToUpper(strings.Join(words, " "))
	})
}

// dan has lists: "(pick (cup red) slow) (turn left 90)".
func dan(commands []command) string {
	return each(commands, " ", func(c command) string {
		words := []string{c.verb}
		if c.what.kind != "" {
			words = append(words, "("+c.what.kind+" "+c.what.colour+")")
		}
		if c.relation != "" {
			words = append(words, c.relation, "("+c.where.kind+" "+c.where.colour+")")
		}
		if c.direction != "" {
			words = append(words, c.direction)
		}
		if c.amount > 0 {
			words = append(words, fmt.Sprint(c.amount))
		}
		if c.speed != "" {
			words = append(words, c.speed)
		}
		return "(" + strings.Join(words, " ") + ")"
	})
}

// eve has keys and values: "do=pick what=cup colour=red speed=1 | do=turn to=left by=90".
func eve(commands []command) string {
	return each(commands, " | ", func(c command) string {
		out := "do=" + c.verb
		add := func(key, value string) {
			if value != "" {
				out += " " + key + "=" + value
			}
		}
		add("what", c.what.kind)
		add("colour", c.what.colour)
		add("at", c.relation)
		add("of", c.where.kind)
		add("tint", c.where.colour)
		add("to", c.direction)
		if c.amount > 0 {
			add("by", fmt.Sprint(c.amount))
		}
		add("speed", map[string]string{"slow": "1", "fast": "3"}[c.speed])
		return out
	})
}

// update writes dan's language after an update: other brackets, other words for
// what to do, and lengths in centimetres: "[get (cup red) slow] [run ahead 300]".
func update(commands []command) string {
	words := map[string]string{
		"pick": "get", "put": "lay", "push": "nudge", "look": "see", "drive": "run", "turn": "yaw", "wait": "nap", "open": "jaw open", "close": "jaw close",
	}
	return each(commands, " ", func(c command) string {
		text := dan([]command{c})
		text = "[" + words[c.verb] + strings.TrimPrefix(text[:len(text)-1], "("+c.verb) + "]"
		if c.verb == "drive" {
			number := fmt.Sprint(c.amount)
			text = strings.Replace(text, number, number+"00", 1)
		}
		return text
	})
}

// heldOut reports whether a command is kept out of the adaptation data: a quarter
// of those that have any argument.
func (c command) heldOut() bool {
	if c.verb == "open" || c.verb == "close" {
		return false
	}
	h := fnv.New32a()
	fmt.Fprint(h, c)
	return h.Sum32()>>8%4 == 0
}

// AdaptationData returns n requests to dan, each for a command that is not held
// out, answered as dan wants it after the update.
func AdaptationData(n int, seed uint64) []Sample {
	return samples(n, source{tensor.NewRandom(seed, "demo adaptation")}, func(c command) bool { return !c.heldOut() })
}

// HeldOutData returns n such requests for commands that are held out.
func HeldOutData(n int, seed uint64) []Sample {
	return samples(n, source{tensor.NewRandom(seed, "demo held out")}, command.heldOut)
}

func samples(n int, s source, wanted func(command) bool) []Sample {
	out := make([]Sample, n)
	for i := range out {
		c := s.commands(1, wanted)
		out[i] = Sample{"dan: " + s.request(c) + "\n", update(c)}
	}
	return out
}

// BaseData returns n lines to train the base on: requests to the robots that it
// knows, and, one in sixteen, letters to be copied or spelt, so that no printable
// character is new to it.
func BaseData(n int, seed uint64) []Sample {
	s := source{tensor.NewRandom(seed, "demo base")}
	out := make([]Sample, n)
	for i := range out {
		if s.below(16) > 0 {
			robot := s.one(known)
			c := s.commands([]int{1, 1, 2}[s.below(3)], func(command) bool { return true })
			out[i] = Sample{robot + ": " + s.request(c) + "\n", dialects[robot](c)}
			continue
		}
		letters := make([]string, 1+s.below(3))
		for j := range letters {
			letters[j] = string(rune('!' + s.below('~'-'!'+1)))
		}
		if s.below(2) == 0 {
			out[i] = Sample{"copy: " + strings.Join(letters, "") + "\n", strings.Join(letters, "")}
		} else {
			out[i] = Sample{"spell: " + strings.Join(letters, "") + "\n", strings.Join(letters, " ")}
		}
	}
	return out
}
