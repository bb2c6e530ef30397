import './start.cases.js'
