package bus

// AnswersEach is how many questions of a namespace are answered at once.
const AnswersEach = answersEach
