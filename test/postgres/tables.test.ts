import './start.cases.js'
import './timeline.cases.js'
import './foreign-rows.cases.js'
import './database-habits.cases.js'
