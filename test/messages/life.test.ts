import './message-open.cases.js'
import './message-life.cases.js'
