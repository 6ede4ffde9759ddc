package bus

// AnswersEach is how many questions of a namespace are answered at once.
const AnswersEach = answersEach

// FirstLost is how long a check waits at which three processes died.
const FirstLost = firstLost
